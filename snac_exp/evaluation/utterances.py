"""The utterances of an evaluation: the same ones for every system, and which of them count above 12 kHz.

A sampling rate of 48 kHz says nothing about the band: recordings at 44.1 kHz are resampled, lossy formats end early.
So every file is measured, and one that does not reach beyond 22 kHz by itself is not measured above 12 kHz.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from snac_exp.config.seeding import derive_seed
from snac_exp.data.files.bandwidth import Bandwidth, measure_bandwidth
from snac_exp.data.files.decoding import AudioInfo
from snac_exp.data.files.reading import Slice
from snac_exp.data.files.recording import Recording
from snac_exp.data.files.resampling import resampled_length
from snac_exp.data.packed.lookup import PackedPlaces
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.prepared.places import safe_join
from snac_exp.data.rows import read_delayed
from snac_exp.data.slices.dataset import TARGET_TOLERANCE_SECONDS, check_target_delay
from snac_exp.data.slices.listing import TARGET_SUFFIXES
from snac_exp.data.targets.wideband import WideBand
from snac_exp.errors import ConfigError, DataError
from snac_exp.metrics.table import WIDE_RATE
from snac_exp.system.paths.kind import refuse_file
from snac_exp.system.progress import progress_display

LONGEST_SECONDS = 60.0
"""Memory grows with the length of what is measured at once, and PESQ has room for some minutes only."""


MAX_SECONDS = 30.0
"""Of a longer utterance the beginning is measured, unless told otherwise."""

NATIVE_HIGH_BAND = WideBand(min_cutoff_hz=22500.0)
"""What a recording must be to count above 12 kHz, unless told otherwise; recordings made at 44.1 kHz end at 22050."""


@dataclass(frozen=True)
class Selection:
    """Which utterances, and how much of each.

    num_utterances: so many, evenly spread over the split; None = all. max_seconds: of a longer file the beginning
    counts. wide_band: what a file's own band must be to count above 12 kHz; with `only_wide_band` other files are left
    out altogether. target_dir: references at 48 kHz under the same relative paths; None = the source files.
    target_delay_seconds: constant delay of these behind the sources, taken back.
    """

    split: str = "validation"
    num_utterances: int | None = None
    max_seconds: float = MAX_SECONDS
    only_wide_band: bool = False
    target_dir: Path | None = None
    wide_band: WideBand = NATIVE_HIGH_BAND
    target_delay_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.max_seconds <= LONGEST_SECONDS:
            raise ConfigError(f"max_seconds={self.max_seconds} must be above 0 and at most {LONGEST_SECONDS:.0f}")
        if self.num_utterances is not None and self.num_utterances < 1:
            raise ConfigError(f"num_utterances={self.num_utterances} must be at least 1, or null for all")
        check_target_delay(self.target_delay_seconds, self.target_dir)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = asdict(self) | {"target_dir": None if self.target_dir is None else str(self.target_dir)}
        if not self.target_delay_seconds:
            del plain["target_delay_seconds"]  # as before there was such a key: earlier evaluations stay comparable
        return plain


@dataclass(frozen=True)
class Utterance:
    """A row of the manifest and what of it is measured.

    recording: its audio; wide: the reference at 48 kHz, mostly the same. num_samples: measured samples at the
    manifest's rate. narrow: why it has no say above 12 kHz; None for a native wide-band recording.
    """

    row: ManifestRow
    recording: Recording
    wide: Recording
    num_samples: int
    bandwidth: Bandwidth
    narrow: tuple[str, str] | None
    wide_delay_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """How much is measured."""
        return self.num_samples / self.row.rate

    @property
    def native_high_band(self) -> bool:
        """Whether it counts above 12 kHz."""
        return self.narrow is None

    def samples_at(self, rate: int) -> int:
        """Measured samples at another rate."""
        return resampled_length(self.num_samples, self.row.rate, rate)

    def source(self, rate: int) -> Tensor:
        """The recording (N,) at a codec's rate."""
        return self._read(self.recording, rate)

    def reference(self, rate: int) -> Tensor | None:
        """What an output at this rate is measured against (N,); None where the file holds less than that rate."""
        if not self.has(rate):
            return None
        return self._wide() if rate == WIDE_RATE else self._read(self.recording, rate)

    def _wide(self) -> Tensor:
        """The reference (N,) at 48 kHz, a declared delay of it taken back."""
        return self._read(self.wide, WIDE_RATE, self.wide_delay_seconds)

    def has(self, rate: int) -> bool:
        """Whether there is a reference at this rate: files below it are not made up."""
        # Of the file's own rate, not of the manifest's: targets at 48 kHz may belong to sources at 24 kHz.
        return (self.bandwidth.rate if rate == WIDE_RATE else self.row.rate) >= rate

    def seed(self, seed: int) -> int:
        """A seed that follows from the file's content, so that it is the same in any selection."""
        return utterance_seed(seed, self.row.sha1)

    def _read(self, recording: Recording, rate: int, delay_seconds: float = 0.0) -> Tensor:
        """The measured part (N,) of a recording at `rate` Hz; DataError if its length is no longer the manifest's."""
        # When it is read, not when it is selected: hours may lie between them.
        check = partial(_check_length, recording, self.row, delay=delay_seconds)
        (audio,) = read_delayed(recording, [Slice(rate, 0, self.samples_at(rate))], check, delay_seconds)
        return torch.from_numpy(audio.samples)


def utterance_seed(seed: int, sha1: str) -> int:
    """Seed of the decoder's noise and the noise baseline for the recording of this SHA-1."""
    return derive_seed(seed, f"evaluate/{sha1}")


def select(manifest: Manifest, selection: Selection) -> list[Utterance]:
    """The utterances of a selection, in the manifest's order; a function of manifest, files and selection alone.

    Raises:
        DataError: there are none, or a file is missing, unreadable or changed.
    """
    rows = [row for row in manifest.rows if row.split == selection.split]
    if not rows:
        raise DataError(f"{manifest.input_dir}: no {selection.split} rows; prepare it with another split, or set split")
    if selection.only_wide_band:
        # All are measured first: spread over what is left, `num_utterances` are what was asked for.
        found = [it for it in _measured(manifest, rows, selection, "bandwidth") if it.native_high_band]
        if not found:
            raise DataError(
                f"none of {len(rows)} {selection.split} files is wide-band: set only_wide_band=false, or look at "
                "snac-exp targets kind=native"
            )
        return [found[index] for index in spread(len(found), selection.num_utterances)]
    chosen = [rows[index] for index in spread(len(rows), selection.num_utterances)]
    return _measured(manifest, chosen, selection, "bandwidth")


def spread(total: int, wanted: int | None) -> list[int]:
    """Up to `wanted` rows of `total` (None: all), evenly spread, since neighbours often are of one speaker."""
    num = total if wanted is None else min(total, wanted)
    return [index * total // num for index in range(num)]


def measurable(utterances: Sequence[Utterance], rates: Sequence[int]) -> tuple[list[Utterance], list[Utterance]]:
    """Those with a reference at one of the rates at least, and the others.

    Raises:
        DataError: there is none of the first kind.
    """
    kept = [item for item in utterances if any(item.has(rate) for rate in rates)]
    if not kept:
        raise DataError(
            f"all {len(utterances)} recordings are below {min(rates)} Hz: there is nothing to measure against"
        )
    return kept, [item for item in utterances if item not in kept]


def utterances_digest(sha1s: Sequence[str]) -> str:
    """SHA-1 that tells whether two evaluations have the same utterances."""
    # Sorted, since the order of the files does not change what was measured.
    # SHA-1 only tells sets apart here; systems in FIPS mode refuse it without the flag.
    return hashlib.sha1("\n".join(sorted(sha1s)).encode(), usedforsecurity=False).hexdigest()


def wide_band_audio(manifest: Manifest, selection: Selection, most: int) -> list[Callable[[], Tensor]]:
    """Readers of up to `most` training references (N,) at 48 kHz that reach above 12 kHz themselves, evenly spread."""
    rows = [row for row in manifest.rows if row.split == "train"]
    chosen = [rows[index] for index in spread(len(rows), most)]
    found = [it for it in _measured(manifest, chosen, selection, "training bandwidth") if it.native_high_band]
    # The default binds this turn's utterance; a plain closure would read the last one every time.
    return [lambda it=it: it._wide() for it in found]  # type: ignore[misc]


def _measured(manifest: Manifest, rows: Sequence[ManifestRow], selection: Selection, what: str) -> list[Utterance]:
    found = []
    targets = None if selection.target_dir is None else _Targets.of(selection.target_dir, rows)
    with progress_display(what, len(rows)) as advance:
        for row in rows:
            found.append(_utterance(manifest, row, selection, targets))
            advance(1, "")
    return found


def _utterance(manifest: Manifest, row: ManifestRow, selection: Selection, targets: "_Targets | None") -> Utterance:
    recording = manifest.recording(row)
    wide = recording if targets is None else targets.recording(row)
    # Of what is the reference: a target may reach higher than its source.
    bandwidth = measure_bandwidth(wide)
    return Utterance(
        row=row,
        recording=recording,
        wide=wide,
        num_samples=min(row.num_samples, round(selection.max_seconds * row.rate)),
        bandwidth=bandwidth,
        narrow=selection.wide_band.failure(bandwidth),
        wide_delay_seconds=selection.target_delay_seconds,
    )


@dataclass(frozen=True)
class _Targets:
    """Where the references of some rows lie: files below a folder, or in packed shards."""

    folder: Path
    packed: PackedPlaces | None
    numbers: dict[str, int]

    @classmethod
    def of(cls, folder: Path, rows: Sequence[ManifestRow]) -> "_Targets":
        paths = [row.path for row in rows]
        packed = PackedPlaces.of(folder, pa.array(paths, pa.large_string()))
        return cls(folder, packed, {path: number for number, path in enumerate(paths)})

    def recording(self, row: ManifestRow) -> Recording:
        """The reference of a row; DataError where there is none."""
        if self.packed is not None:
            return self.packed.place(self.numbers[row.path]).below(self.folder)
        return Recording(_target(self.folder, row))


def _target(folder: Path, row: ManifestRow) -> Path:
    wanted = safe_join(folder, row.path)
    for candidate in (wanted, *(wanted.with_suffix(suffix) for suffix in TARGET_SUFFIXES)):
        if candidate.exists():
            return candidate
    refuse_file(folder, "a folder of targets", DataError)
    raise DataError(f"{wanted}: no target file for {row.path}; make it with snac-exp targets, or set target_dir=null")


def _check_length(recording: Recording, row: ManifestRow, info: AudioInfo, delay: float = 0.0) -> None:
    if min(abs(info.seconds - row.seconds), abs(info.seconds - delay - row.seconds)) > TARGET_TOLERANCE_SECONDS:
        raise DataError(
            f"{recording}: {info.seconds:.3f} s, but the manifest says {row.seconds:.3f} s; the file has changed or "
            "belongs to another utterance: prepare the folder again"
        )
