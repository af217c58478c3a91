"""Whether an audio file is all there, by what its container promises.

libsndfile takes a WAV, AIFF, Ogg or MP3 file that was cut off for a shorter one. FLAC needs no look here: cut off, it
does not decode to its end.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO

from snac_exp.errors import DataError

# Sizes that mean "not known when the header was written": of streams, and of sox.
UNKNOWN_SIZE = 0x7FFFF000
OGG_HEADER_BYTES = 27
OGG_LARGEST_PAGE = OGG_HEADER_BYTES + 255 + 255 * 255
MP3_LOOK_BYTES = 4096  # from the first frame on


def check_complete(path: Path) -> None:
    """Compare a file's length with what its header, its last page (Ogg) or its Xing frame (MP3) promises.

    Raises:
        DataError: it ends before that, or cannot be opened.
    """
    try:
        with open(path, "rb") as file:
            num_bytes = os.fstat(file.fileno()).st_size
            promised = _promised_bytes(file, num_bytes)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror})") from error
    if promised is not None and promised > num_bytes:
        raise DataError(f"{path}: is cut off: {num_bytes:,} bytes of the {promised:,} that it should have; replace it")


def _promised_bytes(file: BinaryIO, num_bytes: int) -> int | None:
    """Least length of the file, None where nothing promises one."""
    magic = file.read(4)
    if magic in (b"RIFF", b"RF64"):
        return _end_of_chunk(file, b"data", "<", num_bytes)
    if magic == b"FORM":
        return _end_of_chunk(file, b"SSND", ">", num_bytes)
    if magic == b"OggS":
        return _end_of_last_page(file, num_bytes)
    if magic[:3] == b"ID3" or magic[:1] == b"\xff":
        return _end_of_mp3(file)
    return None


def _end_of_chunk(file: BinaryIO, wanted: bytes, order: str, num_bytes: int) -> int | None:
    """Where the chunk of samples ends, of a RIFF, RF64 or AIFF file."""
    place, large = 12, None
    while place + 8 <= num_bytes:
        file.seek(place)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64":  # of RF64: the sizes that do not fit into 32 bits
            large = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))[1]
        if name == wanted:
            size = large if large is not None and size == 0xFFFFFFFF else size
            return None if large is None and size >= UNKNOWN_SIZE else place + 8 + size
        place += 8 + size + size % 2
    return None


def _end_of_last_page(file: BinaryIO, num_bytes: int) -> int | None:
    start = max(0, num_bytes - OGG_LARGEST_PAGE)
    file.seek(start)
    tail = file.read()
    place = tail.rfind(b"OggS")
    if place < 0:
        return None
    page = tail[place:]
    num_segments = page[26] if len(page) >= OGG_HEADER_BYTES else 0
    lacing = page[OGG_HEADER_BYTES : OGG_HEADER_BYTES + num_segments]
    return start + place + OGG_HEADER_BYTES + num_segments + sum(lacing)


def _end_of_mp3(file: BinaryIO) -> int | None:
    """From the number of bytes that the encoder noted in its first frame, where it noted any."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(MP3_LOOK_BYTES)
    for tag in (b"Xing", b"Info"):
        place = frame.find(tag)
        if 0 <= place <= len(frame) - 16:
            (flags,) = struct.unpack(">I", frame[place + 4 : place + 8])
            offset = place + 8 + (4 if flags & 1 else 0)
            return start + int(struct.unpack(">I", frame[offset : offset + 4])[0]) if flags & 2 else None
    return None
