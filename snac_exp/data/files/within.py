"""Audio that lies within another file, opened out of a mapping of that file, which workers share.

libsndfile asks Python for every few kilobytes: out of a mapping that costs no more than its own reading of a file.
"""

import io
import mmap
import os
from functools import lru_cache
from typing import Any

import soundfile

from snac_exp.data.files.recording import Bytes, Recording

FILES_MAPPED = 64  # the latest ones stay mapped in a process


def open_within(recording: Recording, within: Bytes) -> Any:
    """The audio file at its place; errors as those of `open` and soundfile."""
    stat = os.stat(recording.path)
    if stat.st_size < within.first:
        raise OSError(f"the file around it ends before it, after {stat.st_size:,} bytes")
    whole = _mapped(os.fspath(recording.path), stat.st_size, stat.st_mtime_ns)
    return soundfile.SoundFile(_View(whole[within.first : within.first + within.size]))


@lru_cache(FILES_MAPPED)
def _mapped(path: str, num_bytes: int, _mtime_ns: int) -> memoryview:
    """A file's bytes; by its size and time one that was written anew is mapped anew."""
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), num_bytes, prot=mmap.PROT_READ) if num_bytes else b"")


class _View:
    """What soundfile needs of a file, over bytes in memory."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._place = data, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there, counted from the start, from here or from the end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        self._place = max(origin + offset, 0)
        return self._place

    def tell(self) -> int:
        """Where it is."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """The next bytes; how many there were."""
        part = self._data[self._place : self._place + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def read(self, num: int) -> bytes:
        """The next bytes, for whoever has no buffer."""
        part = bytes(self._data[self._place : self._place + num])
        self._place += len(part)
        return part
