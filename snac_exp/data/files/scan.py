"""Find audio files below a folder and measure each one; nothing is accepted or rejected here.

This module imports no torch: the worker processes of `prepare` start in a fraction of a second.
"""

import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from snac_exp.data.files.decoding import measure_audio
from snac_exp.data.files.levels import Levels
from snac_exp.errors import DataError

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})


NO_LEVELS = Levels()


@dataclass(frozen=True, slots=True)
class FileMeasurement:
    """What decoding a file from start to end tells of a row in it. `error` is null for a file that is whole.

    size_bytes and mtime_ns say whether the file is still the one that was measured, `asked` whether the row is.
    segment: start, stop and samples of the whole file, where the row is a part of it.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    error: str | None = None
    rate: int = 0
    channels: int = 0
    num_samples: int = 0
    sha1: str = ""
    levels: Levels = NO_LEVELS
    asked: list[Any] | None = None
    segment: tuple[int, int, int] | None = None

    @property
    def peak(self) -> float:
        """Largest magnitude of the mono mix, 1.0 = full scale."""
        return self.levels.peak

    @property
    def is_segment(self) -> bool:
        """Whether the row is a part of its file."""
        return self.segment is not None

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON has them."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return found | {"levels": {field.name: getattr(self.levels, field.name) for field in fields(self.levels)}}

    @property
    def seconds(self) -> float:
        """Duration; 0 for a file that cannot be read."""
        return self.num_samples / self.rate if self.rate else 0.0


def find_audio(input_dir: Path, skip: Path) -> list[str]:
    """Relative paths (forward slashes, sorted) of all audio files below a folder, linked folders included.

    `skip` is left out with all below it. A link back to a folder above is not followed.
    """
    # Text and no paths: there may be millions.
    start = len(os.path.join(input_dir, ""))
    return sorted(path[start:] for path in _walk(os.fspath(input_dir), skip.resolve(), frozenset(), AUDIO_SUFFIXES))


def find_files(folder: Path, skip: Path, suffixes: Collection[str]) -> list[Path]:
    """All files of these endings below a folder, sorted; else as `find_audio`."""
    return sorted(map(Path, _walk(os.fspath(folder), skip.resolve(), frozenset(), suffixes)))


def _walk(folder: str, skip: Path, above: frozenset[Path], suffixes: Collection[str]) -> Iterator[str]:
    real = Path(folder).resolve()
    if real in above or real == skip:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _walk(entry.path, skip, above | {real}, suffixes)
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
                yield entry.path


def stamp(path: Path) -> tuple[int, int]:
    """(size in bytes, modification time in ns) of a file, (-1, -1) if it is gone or a broken link."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def measure(input_dir: Path, relative: str) -> FileMeasurement:
    """Read one file from start to end, in blocks, and say what it is; errors become part of the measurements."""
    path = input_dir / relative
    # Before reading: a file that changes meanwhile is measured again next time.
    size_bytes, mtime_ns = stamp(path)
    if not path.exists():
        return FileMeasurement(relative, size_bytes, mtime_ns, error=f"no such file: {path}")
    try:
        with open(path, "rb") as file:
            sha1 = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
        info, levels = measure_audio(path)
    except (DataError, OSError) as error:
        return FileMeasurement(relative, size_bytes, mtime_ns, error=str(error).removeprefix(f"{path}: "))
    return FileMeasurement(
        path=relative,
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        rate=info.rate,
        channels=info.num_channels,
        num_samples=info.num_samples,
        sha1=sha1,
        levels=levels,
    )
