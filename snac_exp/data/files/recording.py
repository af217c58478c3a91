"""Where a recording lies: an audio file, bytes within another file (a member of a tar), or a segment of either."""

import hashlib
import io
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FILES_REMEMBERED = 256  # whose SHA-1 is known: segments of one file share it


@dataclass(frozen=True, slots=True)
class Bytes:
    """The bytes [first, first + size) of a file that are an audio file by themselves; name: what it is called there."""

    first: int
    size: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples [start, stop) of an audio file, at its own rate, that had `file_samples` when it was listed."""

    start: int
    stop: int
    file_samples: int


@dataclass(frozen=True, slots=True)
class Recording:
    """What is read as one recording. Its text names it in messages.

    within: null = the file itself is audio. segment: null = from the first sample to the last.
    """

    path: Path
    within: Bytes | None = None
    segment: Segment | None = None

    def __str__(self) -> str:
        return str(self.path) if self.within is None else f"{self.path}/{self.within.name or self.within.first}"

    @property
    def whole(self) -> "Recording":
        """The audio file that a segment is of."""
        return self if self.segment is None else Recording(self.path, self.within)

    def open(self) -> io.BufferedReader:
        """The bytes of the audio file; OSError where its file cannot be opened."""
        if self.within is None:
            return open(self.path, "rb")
        return io.BufferedReader(_Window(self.path, self.within))

    def stamp(self) -> tuple[int, int]:
        """Bytes of the audio file and when the file that holds it changed, in ns.

        Raises:
            OSError: it is not there.
        """
        stat = os.stat(self.path)
        return (stat.st_size if self.within is None else _there(self.within, stat.st_size)), stat.st_mtime_ns

    def sha1(self) -> str:
        """SHA-1 of the audio file's bytes; of a segment, of that and its place.

        Raises:
            OSError: it cannot be read.
        """
        whole = _sha1(self.whole, *self.stamp())
        return whole if self.segment is None else sha1_of_segment(whole, self.segment)


def recording_of(path: "Path | str | Recording") -> Recording:
    """A path as the recording that is this file."""
    return path if isinstance(path, Recording) else Recording(Path(path))


def sha1_of_segment(of_file: str, segment: Segment) -> str:
    """What tells a segment from others of its file: SHA-1 of the file's and of the place."""
    text = f"{of_file} {segment.start} {segment.stop}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@lru_cache(FILES_REMEMBERED)
def _sha1(whole: Recording, _num_bytes: int, _mtime_ns: int) -> str:
    # Size and time are there for the cache: a file that was written anew is read anew.
    with whole.open() as file:
        # A system in FIPS mode refuses SHA-1 for anything that might be security.
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()


def _there(within: Bytes, file_size: int) -> int:
    """How many of the bytes a file of this size has: it may have been cut off since they were found."""
    return max(min(within.size, file_size - within.first), 0)


class _Window(io.RawIOBase):
    """Bytes of a file as a file of their own; where the file ends before them, so does this one."""

    def __init__(self, path: Path, within: Bytes) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._first, self._size, self._place = within.first, _there(within, os.fstat(self._file.fileno()).st_size), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(start + offset, 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        num = min(len(buffer), max(self._size - self._place, 0))
        if num == 0:
            return 0
        read = os.preadv(self._file.fileno(), [memoryview(buffer)[:num]], self._first + self._place)
        self._place += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
