"""The reading protocol: rows of audio, whatever they lie in, give any slice at any rate.

A folder with a file per row is one implementation. Others (segments of long files by offset, members of tar or Parquet
shards) implement `read` and are used by the same datasets, caches and targets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from snac_exp.data.files.decoding import AudioInfo, Float32Array
from snac_exp.data.files.reading import Slice, read_slices
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
        return self.read_slices(row, [Slice(rate, start, num)])[0]

    def read_slices(self, row: Row, slices: Sequence[Slice]) -> list[RowAudio]:
        """Slices of a row, at different rates perhaps, out of its file opened and decoded once."""
        file, headers = self.file(row), list[AudioInfo]()

        def seen(info: AudioInfo) -> None:
            # The header comes out through the check: asking for it beforehand would open every file twice.
            headers.append(info)
            if self.check is not None:
                self.check(row, file, info)

        missing = [self._missing(slice_) for slice_ in slices]
        inside = [self._in_file(slice_, num) for slice_, num in zip(slices, missing, strict=True)]
        found = zip(missing, read_slices(file, inside, check=seen), strict=True)
        return [RowAudio(np.pad(samples, (num, 0)) if num else samples, headers[0]) for num, samples in found]

    def _missing(self, slice_: Slice) -> int:
        """Samples at the beginning of a slice that a file which lies earlier does not have: they are silence."""
        missing = max(-self._first(slice_), 0)
        return missing if slice_.num is None else min(missing, slice_.num)

    def _in_file(self, slice_: Slice, missing: int) -> Slice:
        num = None if slice_.num is None else slice_.num - missing
        return replace(slice_, start=max(self._first(slice_), 0), num=num)

    def _first(self, slice_: Slice) -> int:
        return slice_.start + round(self.delay_seconds * slice_.rate)


def manifest_rows(manifest: Manifest) -> FolderRows[ManifestRow]:
    """The rows of a manifest, where it says that they lie."""
    return FolderRows(manifest.input_dir, lambda row: row.path)
