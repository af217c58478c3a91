"""The reading protocol: rows of audio, whatever they lie in, give any slice at any rate.

`PlacedRows` reads rows whose place is known: files below a folder, bytes of a shard, segments of long files. Whatever
cannot be told as such a place implements `AudioRows`, and is used by the same datasets, caches and targets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from snac_exp.data.files.decoding import AudioInfo, Float32Array
from snac_exp.data.files.levels import NO_LIMITS, Limits
from snac_exp.data.files.reading import Slice, read_slices
from snac_exp.data.files.recording import Recording
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.prepared.places import Place
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

    def read_slices(self, row: AnyRow, slices: Sequence[Slice]) -> list[RowAudio]:
        """Slices of a row, at different rates perhaps, out of audio that is opened and decoded once."""
        ...


def read_delayed(
    recording: Recording,
    slices: Sequence[Slice],
    check: Callable[[AudioInfo], None] | None = None,
    delay_seconds: float = 0.0,
    limits: Limits = NO_LIMITS,
) -> list[RowAudio]:
    """Slices of a recording that lies later by `delay_seconds` than what they count in; below 0: earlier.

    check: sees the header before anything is decoded, and may raise. limits: of its levels, where it is read whole.

    Raises:
        DataError: it cannot be read.
    """
    headers = list[AudioInfo]()

    def seen(info: AudioInfo) -> None:
        # The header comes out through the check: asking for it beforehand would open every file twice.
        headers.append(info)
        if check is not None:
            check(info)

    wanted = [_in_recording(slice_, delay_seconds) for slice_ in slices]
    found = read_slices(recording, [inside for inside, _ in wanted], check=seen, limits=limits)
    return [
        RowAudio(np.pad(samples, (missing, 0)) if missing else samples, headers[0])
        for samples, (_, missing) in zip(found, wanted, strict=True)
    ]


def _in_recording(slice_: Slice, delay_seconds: float) -> tuple[Slice, int]:
    """The slice in a recording that lies later, and how many samples before its start are missing: they are silence."""
    first = slice_.start + round(delay_seconds * slice_.rate)
    missing = max(-first, 0) if slice_.num is None else min(max(-first, 0), slice_.num)
    num = None if slice_.num is None else slice_.num - missing
    return replace(slice_, start=max(first, 0), num=num), missing


@dataclass(frozen=True)
class PlacedRows(Generic[Row]):
    """Rows whose audio lies below a folder, each at a place of its own.

    place_of: of a row. endings: tried in place of the file's own where that is not there, as for targets in another
    format. check: sees row, recording and its header before anything is decoded, and may raise.
    delay_seconds: so much later than the row lies what is in its file; below 0 it lies earlier. limits: of levels.
    """

    folder: Path
    place_of: Callable[[Row], Place]
    endings: tuple[str, ...] = ()
    check: Callable[[Row, Recording, AudioInfo], None] | None = None
    delay_seconds: float = 0.0
    limits: Limits = NO_LIMITS

    def recording(self, row: Row) -> Recording:
        """The row's audio, which need not be there if no other endings are tried; DataError for a path that leaves the
        folder."""
        wanted = self.place_of(row).below(self.folder)
        # The path's own suffix first; without other endings no look at the disk, since opening says what is missing.
        for path in (wanted.path, *(wanted.path.with_suffix(ending) for ending in self.endings)):
            if not self.endings or path.exists():
                return replace(wanted, path=path)
        raise DataError(
            f"{wanted}: no target file ({', '.join(self.endings)}) for {self.place_of(row).file};"
            " make it with snac-exp targets, or set data.target_dir=null to train towards the source files"
        )

    def read(self, row: Row, rate: int, start: int = 0, num: int | None = None) -> RowAudio:
        """A slice of a row, see `AudioRows`."""
        return self.read_slices(row, [Slice(rate, start, num)])[0]

    def read_slices(self, row: Row, slices: Sequence[Slice]) -> list[RowAudio]:
        """Slices of a row, see `AudioRows`."""
        recording, check = self.recording(row), self.check
        seen = None if check is None else lambda info: check(row, recording, info)
        return read_delayed(recording, slices, seen, self.delay_seconds, self.limits)


def manifest_rows(manifest: Manifest) -> PlacedRows[ManifestRow]:
    """The rows of a manifest, where it says that they lie."""
    return PlacedRows(manifest.input_dir, lambda row: row.place, limits=manifest.limits)
