"""How long an MP3 file is, by its frames: libsndfile guesses from the first one where no header says it."""

import functools
import struct
from dataclasses import dataclass
from typing import BinaryIO

from snac_exp.data.files.recording import Recording
from snac_exp.errors import DataError

LOOK_BYTES = 4096  # from the first frame on, for the encoder's own header
FILES_REMEMBERED = 256  # slices of one file are read again and again
_KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG-1 layer III
_KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG-2 and 2.5
_RATES = (44100, 48000, 32000)  # Hz, of MPEG-1; MPEG-2 halves them, MPEG-2.5 quarters them
_HALVINGS = {3: 0, 2: 1, 0: 2}  # by the version bits: MPEG-1, 2, 2.5; 1 is reserved


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of MPEG audio, layer III: its bytes and its samples per channel."""

    num_bytes: int
    num_samples: int


def end_of_mp3(file: BinaryIO) -> int | None:
    """Where the file ends, by the number of bytes that the encoder noted in its first frame; None if it noted none."""
    start = _after_id3(file, 0)
    file.seek(start)
    frame = file.read(LOOK_BYTES)
    place = _header_place(frame)
    if place is None:
        return None
    # Flag 1: a number of frames stands first. Flag 2: a number of bytes comes then.
    (flags,) = struct.unpack(">I", frame[place + 4 : place + 8])
    offset = place + 8 + (4 if flags & 1 else 0)
    return start + int(struct.unpack(">I", frame[offset : offset + 4])[0]) if flags & 2 else None


def check_length(recording: Recording, num_samples: int) -> None:
    """An MP3 without the encoder's header must be as long as the decoder's guess, to a frame.

    Raises:
        DataError: it is not; only an MP3 with such a header, or another format, can be read at any place.
    """
    counted = _counted(recording.whole, *recording.stamp())
    if counted is not None and abs(counted[0] - num_samples) > counted[1]:
        raise DataError(
            f"{recording}: an MP3 without a Xing header, taken for {num_samples:,} samples, but its frames hold "
            f"{counted[0]:,}; write it anew, e.g. with ffmpeg -i OLD.mp3 NEW.flac"
        )


@functools.lru_cache(FILES_REMEMBERED)
def _counted(whole: Recording, num_bytes: int, _mtime_ns: int) -> tuple[int, int] | None:
    """(samples of all frames, samples of one) of a file without an encoder's header."""
    with whole.open() as file:
        place = _after_id3(file, 0)
        file.seek(place)
        first = file.read(LOOK_BYTES)
        if _header_place(first) is not None or b"VBRI" in first:  # VBRI: Fraunhofer's header, which the decoder reads
            return None
        file.seek(0)
        data = file.read()
    # A frame tells nothing but its own length, so all of them are walked through.
    total, largest = 0, 0
    while place + 4 <= num_bytes and (frame := _frame(data[place : place + 4])) is not None:
        total, largest, place = total + frame.num_samples, max(largest, frame.num_samples), place + frame.num_bytes
    return total, largest


def _frame(head: bytes) -> Frame | None:
    """The frame that begins with these four bytes; None if none does."""
    (word,) = struct.unpack(">I", head)
    version, layer, rate, kbps = (word >> 19) & 3, (word >> 17) & 3, (word >> 10) & 3, (word >> 12) & 15
    # 11 bits to synchronise; layer 1 means III; kbps 0 is a free format and 15 is reserved.
    if word >> 21 != 0x7FF or version == 1 or layer != 1 or rate == 3 or kbps in (0, 15):
        return None
    num_samples = 1152 if version == 3 else 576
    bits_per_second = 1000 * (_KBPS_1 if version == 3 else _KBPS_2)[kbps]
    padding = (word >> 9) & 1
    return Frame(num_samples // 8 * bits_per_second // (_RATES[rate] >> _HALVINGS[version]) + padding, num_samples)


def _header_place(frame: bytes) -> int | None:
    """Where the encoder's header (Xing, Info) lies in the first frame."""
    places = [frame.find(tag) for tag in (b"Xing", b"Info")]
    return next((place for place in places if 0 <= place <= len(frame) - 16), None)


def _after_id3(file: BinaryIO, start: int) -> int:
    """Where the first frame begins: behind an ID3v2 tag."""
    file.seek(start)
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return start
    # Bytes of an ID3v2 size hold seven bits each.
    return start + 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
