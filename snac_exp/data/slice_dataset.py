"""Slices of codes from memory and of audio from the files: reads what a SliceSpec says and decides nothing."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from snac_exp.codec.geometry import Geometry
from snac_exp.data.audio import AudioInfo, read_mono, resampled_length
from snac_exp.data.batch import Sample
from snac_exp.data.code_table import CodeTable
from snac_exp.data.manifest import safe_join
from snac_exp.data.slices import SliceSpec
from snac_exp.errors import DataError

Int64Array = npt.NDArray[np.int64]

TARGET_SUFFIXES = (".flac", ".wav", ".ogg")
TARGET_TOLERANCE_SECONDS = 0.02


@dataclass(frozen=True)
class AudioFolders:
    """Where the source files lie and, for heads of another rate than the codec's, the targets (null: the sources)."""

    source: Path
    targets: Path | None


class SliceDataset(Dataset[Sample]):
    """The rows of one split; an item is asked for by SliceSpec, whose `row` counts from 0 within this dataset.

    A head at the codec's own rate is trained towards the source audio; the others towards the file of the same relative
    path under the target folder, or towards the source file itself, which must then have at least the head's rate.
    """

    def __init__(
        self, table: CodeTable, rows: Int64Array, geometry: Geometry, heads: dict[str, int], folders: AudioFolders
    ) -> None:
        self.table, self.rows, self.geometry, self.heads, self.folders = table, rows, geometry, heads, folders
        self.coarse_lengths: Int64Array = table.coarse_lengths[rows]
        self.num_samples: Int64Array = table.num_samples[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, spec: SliceSpec) -> Sample:
        geometry = self.geometry
        start = spec.start * geometry.coarse_hop
        length = spec.num_tokens * geometry.coarse_hop
        targets = {head: self._target(spec, rate) for head, rate in self.heads.items()}
        end = min([int(self.num_samples[spec.row]), *(end for _, end in targets.values())])
        return Sample(
            codes=[self._codes(spec, i) for i in range(geometry.num_codebooks)],
            audio={head: audio for head, (audio, _) in targets.items()},
            window_tokens_valid=min(int(self.coarse_lengths[spec.row]) - spec.window_start, spec.window_tokens),
            slice_offset=spec.offset,
            valid_samples=min(max(end - start, 0), length),
            row=spec.row,
            seconds=length / geometry.sampling_rate,
        )

    def __getitems__(self, specs: Sequence[SliceSpec]) -> list[Sample]:
        return [self[spec] for spec in specs]

    def path(self, row: int) -> str:
        """Path of the source file, relative to the audio root."""
        return self.table.path(int(self.rows[row]))

    def speaker(self, row: int) -> str:
        """Speaker of the row."""
        return self.table.speaker(int(self.rows[row]))

    def source_file(self, row: int) -> Path:
        """The source audio file."""
        return safe_join(self.folders.source, self.path(row))

    def target_file(self, row: int, rate: int) -> Path:
        """The file a head of `rate` Hz is trained towards; DataError if there is none."""
        if rate == self.geometry.sampling_rate or self.folders.targets is None:
            return self.source_file(row)
        wanted = safe_join(self.folders.targets, self.path(row))
        for candidate in (wanted, *(wanted.with_suffix(suffix) for suffix in TARGET_SUFFIXES)):
            if candidate.exists():
                return candidate
        raise DataError(
            f"{wanted}: no target file (.flac, .wav or .ogg) for {self.path(row)};"
            " make it with snac-exp targets, or set data.target_dir=null to train towards the source files"
        )

    def whole(self, row: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """A whole utterance: codes[i] (1, T_i) int64 and audio[head] (1, 1, N_head), N_head its true length."""
        table_row = int(self.rows[row])
        codes = [
            torch.from_numpy(self.table.codes(table_row, i).astype(np.int64)) for i in range(len(self.table.values))
        ]
        audio = {}
        for head, rate in self.heads.items():
            num = resampled_length(int(self.num_samples[row]), self.geometry.sampling_rate, rate)
            audio[head] = self._read(row, rate, 0, num)[0][None, None]
        return [tokens[None] for tokens in codes], audio

    def check_targets(self) -> None:
        """Every row has a target file: one listing per folder, no file is opened. DataError counts the missing ones."""
        if self.folders.targets is None or all(rate == self.geometry.sampling_rate for rate in self.heads.values()):
            return
        listings: dict[PurePosixPath, set[str]] = {}
        missing = []
        for row in range(len(self)):
            path = PurePosixPath(self.path(row))
            if path.parent not in listings:
                listings[path.parent] = _names(safe_join(self.folders.targets, str(path)).parent)
            if listings[path.parent].isdisjoint({path.name, *(path.stem + suffix for suffix in TARGET_SUFFIXES)}):
                missing.append(str(path))
        if missing:
            raise DataError(
                f"{self.folders.targets}: no target for {len(missing)} of {len(self)} files (first: {missing[0]});"
                " make them with snac-exp targets"
            )

    def _codes(self, spec: SliceSpec, codebook: int) -> Tensor:
        """Tokens (T_i,) of one codebook over the window, padded with zeros beyond the end of the utterance."""
        wanted = self.geometry.codebook_slice(codebook, spec.window_start, spec.window_tokens)
        padded = np.zeros(wanted.stop - wanted.start, dtype=np.int64)
        tokens = self.table.codes(int(self.rows[spec.row]), codebook, wanted)
        padded[: len(tokens)] = tokens
        return torch.from_numpy(padded)

    def _target(self, spec: SliceSpec, rate: int) -> tuple[Tensor, int]:
        wanted = self.geometry.audio_slice(spec.start, spec.num_tokens, rate)
        return self._read(spec.row, rate, wanted.start, wanted.stop - wanted.start)

    def _read(self, row: int, rate: int, start: int, num: int) -> tuple[Tensor, int]:
        """Audio (num,) at `rate` and where its file ends, in samples at the codec's rate."""
        path = self.target_file(row, rate)
        ends: list[int] = []

        def check(info: AudioInfo) -> None:
            self._check_length(path, row, info)
            if rate != self.geometry.sampling_rate and info.rate < rate:
                raise DataError(
                    f"{path}: {info.rate} Hz has no target for a head of {rate} Hz;"
                    f" set data.target_dir to a folder of {rate} Hz targets, or leave this head out"
                )
            ends.append(int(info.seconds * self.geometry.sampling_rate))

        samples = read_mono(path, rate, start, num, check=check)
        return torch.from_numpy(samples), ends[0]

    def _check_length(self, path: Path, row: int, info: AudioInfo) -> None:
        seconds = int(self.num_samples[row]) / self.geometry.sampling_rate
        if abs(info.seconds - seconds) > TARGET_TOLERANCE_SECONDS:
            raise DataError(
                f"{path}: {info.seconds:.3f} s, but its codes cover {seconds:.3f} s;"
                " the file has changed or belongs to another utterance: prepare, cache (and make targets) again"
            )


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        return set()
