"""The reading protocol: rows of audio, whatever they lie in, give any slice at any rate.

A folder with a file per row is one implementation. Others (segments of long files by offset, members of tar or Parquet
shards) implement `read` and are used by the same datasets, caches and targets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from snac_exp.data.files.decoding import AudioInfo, Float32Array
from snac_exp.data.files.reading import read_mono
from snac_exp.data.prepared.manifest import Manifest, ManifestRow, safe_join
from snac_exp.errors import DataError

Row = TypeVar("Row")
AnyRow = TypeVar("AnyRow", contravariant=True)


@dataclass(frozen=True, slots=True)
class RowAudio:
    """A slice of a row: samples (num,) float32, and the row's own rate in Hz, length and channels."""

    samples: Float32Array
    info: AudioInfo


class AudioRows(Protocol[AnyRow]):
    """Rows of audio; a row is whatever names one there: a number, or a row of a manifest."""

    def read(self, row: AnyRow, rate: int, start: int = 0, num: int | None = None) -> RowAudio:
        """Samples [start, start + num) of the row as it would be at `rate` Hz, mono; None: up to its end.

        Both count from the row's own start, and beyond its end there is silence.

        Raises:
            DataError: the row cannot be read, or is not what it was when it was listed.
        """
        ...


@dataclass(frozen=True)
class FolderRows(Generic[Row]):
    """Rows that are one audio file each, below a folder.

    path_of: relative path of a row's file. endings: tried in place of the path's own where that is not there, as for
    targets in another format. check: sees row, file and its header before anything is decoded, and may raise.
    delay_seconds: so much later than the row lies what is in its file; below 0 it lies earlier.
    """

    folder: Path
    path_of: Callable[[Row], str]
    endings: tuple[str, ...] = ()
    check: Callable[[Row, Path, AudioInfo], None] | None = None
    delay_seconds: float = 0.0

    def file(self, row: Row) -> Path:
        """The row's file, which need not be there if no other endings are tried; DataError for a path that leaves the
        folder."""
        wanted = safe_join(self.folder, self.path_of(row))
        # The path's own suffix first; without other endings no look at the disk, since opening says what is missing.
        for candidate in (wanted, *(wanted.with_suffix(ending) for ending in self.endings)):
            if not self.endings or candidate.exists():
                return candidate
        raise DataError(
            f"{wanted}: no target file ({', '.join(self.endings)}) for {self.path_of(row)};"
            " make it with snac-exp targets, or set data.target_dir=null to train towards the source files"
        )

    def read(self, row: Row, rate: int, start: int = 0, num: int | None = None) -> RowAudio:
        """A slice of a row, see `AudioRows`."""
        file, headers = self.file(row), list[AudioInfo]()

        def seen(info: AudioInfo) -> None:
            # The header comes out through the check: asking for it beforehand would open every file twice.
            headers.append(info)
            if self.check is not None:
                self.check(row, file, info)

        first = start + round(self.delay_seconds * rate)
        # What a file that lies earlier does not have of the row's beginning is silence.
        missing = min(max(-first, 0), num if num is not None else max(-first, 0))
        samples = read_mono(file, rate, max(first, 0), None if num is None else num - missing, check=seen)
        return RowAudio(np.pad(samples, (missing, 0)) if missing else samples, headers[0])


def manifest_rows(manifest: Manifest) -> FolderRows[ManifestRow]:
    """The rows of a manifest, where it says that they lie."""
    return FolderRows(manifest.input_dir, lambda row: row.path)
