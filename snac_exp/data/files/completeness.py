"""Whether an audio file is all there, by what its container promises.

libsndfile takes a WAV, AIFF, Ogg or MP3 file that was cut off for a shorter one, and believes a header that counts too
few samples. FLAC needs no look here: cut off, it does not decode to its end.
"""

import functools
import struct
from collections.abc import Callable
from typing import BinaryIO

from snac_exp.data.files.mp3 import end_of_mp3
from snac_exp.data.files.recording import Recording
from snac_exp.errors import DataError

# Sizes that mean "not known when the header was written": of streams, and of sox.
UNKNOWN_SIZE = 0x7FFFF000
OGG_HEADER_BYTES = 27  # of a page, before its lacing values
OGG_LARGEST_PAGE = OGG_HEADER_BYTES + 255 + 255 * 255  # 255 lacing values, each counting up to 255 bytes
OGG_LAST_PAGE = 4  # flag in the header type of a page
FILES_REMEMBERED = 4096  # slices of one file are read again and again
ZEROS_BLOCK_BYTES = 2**20
_TAGS = (b"LIS", b"id3", b"ID3", b"TAG", b"bex", b"iXM")  # LIST, bext, iXML; of ID3v1, which is no chunk, three letters


def check_complete(recording: Recording) -> None:
    """Compare a file's length with what its header, its last page (Ogg) or its Xing frame (MP3) promises.

    The verdict on an unchanged file (size and modification time) is remembered.

    Raises:
        DataError: it ends before that, goes on after it, or cannot be opened.
    """
    try:
        problem = _problem(recording.whole, *recording.stamp())
    except OSError as error:
        raise DataError(f"{recording}: cannot be opened ({error.strerror})") from error
    if problem is not None:
        raise DataError(f"{recording}: {problem}")


@functools.lru_cache(FILES_REMEMBERED)
def _problem(whole: Recording, num_bytes: int, _mtime_ns: int) -> str | None:
    # Size and time are there for the cache: a file that was written anew is looked at anew.
    with whole.open() as file:
        magic = file.read(4)
        return _check_of(magic)(file, num_bytes)


def _check_of(magic: bytes) -> Callable[[BinaryIO, int], str | None]:
    """The check of the container that begins with these four bytes."""
    if magic in (b"RIFF", b"RF64"):
        return functools.partial(_chunks_problem, wanted=b"data", order="<")
    # Big-endian: RIFX is a WAV of that kind, FORM an AIFF.
    if magic in (b"RIFX", b"FORM"):
        return functools.partial(_chunks_problem, wanted=b"data" if magic == b"RIFX" else b"SSND", order=">")
    if magic == b"OggS":
        return _ogg_problem
    # An MP3 begins with a tag, or at once with the sync word of its first frame.
    if magic[:3] == b"ID3" or magic[:1] == b"\xff":
        return lambda file, num_bytes: _cut_off(end_of_mp3(file), num_bytes)
    return lambda _file, _num_bytes: None


def _cut_off(promised: int | None, num_bytes: int) -> str | None:
    if promised is None or promised <= num_bytes:
        return None
    return f"is cut off: {num_bytes:,} bytes of the {promised:,} that it should have; replace it"


def _chunks_problem(file: BinaryIO, num_bytes: int, *, wanted: bytes, order: str) -> str | None:
    """Of a RIFF, RF64 or AIFF file: its samples end within the file, and what follows them is further chunks."""
    place, large = 12, None
    while place + 8 <= num_bytes:
        file.seek(place)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64":  # of RF64: the sizes that do not fit into 32 bits
            large = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))[1]  # sizes of the whole, of the samples
        if name == wanted:
            if large is not None and size == 0xFFFFFFFF:
                size = large
            elif size >= UNKNOWN_SIZE:
                return None
            end = place + 8 + size
            return _cut_off(end, num_bytes) or _rest_problem(file, end, num_bytes, order)
        # Chunks begin at even places.
        place += 8 + size + size % 2
    return None


def _rest_problem(file: BinaryIO, end: int, num_bytes: int, order: str) -> str | None:
    """Bytes behind the samples are chunks, or zeros that fill the file up; anything else is samples not counted."""
    end += end % 2
    if num_bytes - end <= 8 or _are_chunks(file, end, num_bytes, order) or _are_zeros(file, end):
        return None
    return (
        f"{num_bytes - end:,} bytes follow the samples that its header counts: it was never closed, or its header is "
        "wrong; write it anew, e.g. with ffmpeg -ignore_length 1 -i OLD.wav NEW.wav"
    )


def _are_chunks(file: BinaryIO, place: int, num_bytes: int, order: str) -> bool:
    """Whether a chunk begins there: a name that chunks have, or letters and a size that ends within the file."""
    file.seek(place)
    name, size = struct.unpack(f"{order}4sI", file.read(8))
    # Writers of tags are careless about their sizes; samples may look like four letters.
    fits = place + 8 + size <= num_bytes + 1
    return name[:3] in _TAGS or (fits and all(32 <= byte < 127 for byte in name))


def _are_zeros(file: BinaryIO, place: int) -> bool:
    """Whether nothing but zeros follows; a recording that begins with silence has other bytes later."""
    file.seek(place)
    while block := file.read(ZEROS_BLOCK_BYTES):
        if block.count(0) < len(block):
            return False
    return True


def _ogg_problem(file: BinaryIO, num_bytes: int) -> str | None:
    """The last page is whole and says that it is the last one."""
    # The last page cannot begin before that.
    start = max(0, num_bytes - OGG_LARGEST_PAGE)
    file.seek(start)
    tail = file.read()
    place = tail.rfind(b"OggS")
    if place < 0:
        return "has no Ogg page at its end: it is cut off or damaged; replace it"
    page = tail[place:]
    # Byte 26 is the number of lacing values; their sum is the length of what follows them.
    num_segments = page[26] if len(page) >= OGG_HEADER_BYTES else 0
    lacing = page[OGG_HEADER_BYTES : OGG_HEADER_BYTES + num_segments]
    cut_off = _cut_off(start + place + OGG_HEADER_BYTES + num_segments + sum(lacing), num_bytes)
    if cut_off is None and not page[5] & OGG_LAST_PAGE:
        return "is cut off: its last Ogg page is not marked as the last one; replace it"
    return cut_off
