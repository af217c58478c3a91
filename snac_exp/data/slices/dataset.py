"""Slices of codes from memory and of audio from the files: reads what a SliceSpec says and decides nothing."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from snac_exp.codec.geometry import Geometry
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.files.decoding import AudioInfo
from snac_exp.data.files.levels import Limits
from snac_exp.data.files.reading import Slice
from snac_exp.data.files.recording import Recording
from snac_exp.data.files.resampling import resampled_length
from snac_exp.data.packed.lookup import PackedPlaces
from snac_exp.data.prepared.places import Place
from snac_exp.data.rows import PlacedRows, RowAudio
from snac_exp.data.slices.batch import Sample
from snac_exp.data.slices.listing import TARGET_SUFFIXES, paths_without_target
from snac_exp.data.slices.sampling import SliceSpec
from snac_exp.errors import ConfigError, DataError

Int64Array = npt.NDArray[np.int64]
Part = tuple[Tensor, int]
"""Audio (num,) of a slice, and where its file ends, in samples at the codec's rate."""

MAX_TARGET_DELAY_SECONDS = 0.4  # as far as the preflight looks for a delay
TARGET_TOLERANCE_SECONDS = 0.02  # between the lengths of a file and of its codes


@dataclass(frozen=True)
class AudioFolders:
    """Where the source files lie and, for heads of another rate than the codec's, the targets (null: the sources).

    target_delay_seconds: constant delay of all targets behind their sources, as of the model that made them.
    """

    source: Path
    targets: Path | None
    target_delay_seconds: float = 0.0

    def __post_init__(self) -> None:
        check_target_delay(self.target_delay_seconds, self.targets)


def check_target_delay(seconds: float, targets: Path | None) -> None:
    """ConfigError for a delay that no model has, or a delay without targets."""
    # Written so that NaN is refused too.
    if not abs(seconds) <= MAX_TARGET_DELAY_SECONDS:
        raise ConfigError(
            f"target_delay_seconds={seconds} must lie within ±{MAX_TARGET_DELAY_SECONDS}: it is the delay of a model"
        )
    if seconds and targets is None:
        raise ConfigError(f"target_delay_seconds={seconds} is of targets, and target_dir names none; leave it out")


class RowTable(Protocol):
    """Rows of utterances: lengths in samples at the codec's rate and in coarse tokens, paths, places, speakers."""

    @property
    def num_samples(self) -> Int64Array: ...
    @property
    def coarse_lengths(self) -> Int64Array: ...
    @property
    def paths(self) -> Any: ...
    @property
    def speakers(self) -> Any: ...
    def path(self, row: int) -> str: ...
    def place(self, row: int) -> Place: ...
    def speaker(self, row: int) -> str: ...


class AlignedDataset(Dataset[Sample], ABC):
    """The rows of one split; an item is asked for by SliceSpec, whose `row` counts from 0 within this dataset.

    A head at the codec's own rate is trained towards the source audio; the others towards the file of the same relative
    path under the target folder, or towards the source file itself, which must then have at least the head's rate.
    """

    def __init__(
        self, table: RowTable, rows: Int64Array, geometry: Geometry, heads: dict[str, int], folders: AudioFolders
    ) -> None:
        self.row_table, self.rows, self.geometry, self.heads, self.folders = table, rows, geometry, heads, folders
        self.coarse_lengths: Int64Array = table.coarse_lengths[rows]
        self.num_samples: Int64Array = table.num_samples[rows]
        self._packed: dict[Path, PackedPlaces | None] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, spec: SliceSpec) -> Sample:
        geometry = self.geometry
        # Ends count samples at the codec's rate for every head; the task scales `valid_samples` to each head's own.
        # Mixing up the two leaves half of every 48 kHz slice without loss, and nothing fails.
        start = spec.start * geometry.coarse_hop
        length = spec.num_tokens * geometry.coarse_hop
        codes, source, targets = self._parts(spec)
        # A target that ends before its source ends the slice: silence behind it is padding, not sound to learn.
        end = min([int(self.num_samples[spec.row]), *(end for _, end in targets.values())])
        return Sample(
            codes=codes,
            audio={head: spec.change.applied(targets[head][0], rate) for head, rate in self.heads.items()},
            # The codes cannot tell where padding begins, since 0 is a code like any other.
            window_tokens_valid=min(int(self.coarse_lengths[spec.row]) - spec.window_start, spec.window_tokens),
            slice_offset=spec.offset,
            valid_samples=min(max(end - start, 0), length),
            row=spec.row,
            seconds=length / geometry.sampling_rate,
            # As the targets: the codec must not learn to change levels.
            source=None if source is None else spec.change.applied(source, geometry.sampling_rate),
        )

    def __getitems__(self, specs: Sequence[SliceSpec]) -> list[Sample]:
        return [self[spec] for spec in specs]

    def path(self, row: int) -> str:
        """Name of the row; of a source file of its own, its path relative to the audio root."""
        return self.row_table.path(int(self.rows[row]))

    def place(self, row: int) -> Place:
        """Where the source audio lies below the audio root."""
        packed = self.packed_sources(self.folders_of(row).source)
        return (self.row_table if packed is None else packed).place(int(self.rows[row]))

    def speaker(self, row: int) -> str:
        """Speaker of the row."""
        return self.row_table.speaker(int(self.rows[row]))

    def speaker_numbers(self) -> Int64Array:
        """The speaker of every row (rows,) as a number, from 0 on without gaps."""
        encoded = self.row_table.speakers.take(pa.array(self.rows)).dictionary_encode()
        return np.asarray(encoded.indices.to_numpy(), dtype=np.int64)

    def sha1(self, row: int) -> str:
        """SHA-1 of the source, as in a manifest."""
        return self.place(row).below(self.folders_of(row).source).sha1()

    def folders_of(self, row: int) -> AudioFolders:
        """Where the row's files lie."""
        return self.folders

    def audio_rows(self, row: int, rate: int) -> PlacedRows[int]:
        """What a row is read from for a head of `rate` Hz: its source, or its target in another format perhaps."""
        folders = self.folders_of(row)
        # The native head learns the source itself: a restored target brought down to its rate is another signal.
        if rate == self.geometry.sampling_rate or folders.targets is None:
            return self.source_rows(row)
        delay = folders.target_delay_seconds
        check = partial(self._check_length, delay=delay)
        packed = self._packed_in(folders.targets)
        # Nobody has judged the levels of targets, as prepare does those of sources.
        if packed is not None:
            place = lambda one: packed.place(int(self.rows[one]))  # noqa: E731
            return PlacedRows(folders.targets, place, (), check, delay, Limits())
        return PlacedRows(folders.targets, lambda one: Place(self.path(one)), TARGET_SUFFIXES, check, delay, Limits())

    def source_rows(self, row: int) -> PlacedRows[int]:
        """What the source of a row is read from."""
        return PlacedRows(self.folders_of(row).source, self.place, check=self._check_length)

    def whole_source(self, row: int) -> Tensor:
        """Audio (N,) of a whole utterance at the codec's rate, from which its codes are made."""
        num, rate = int(self.num_samples[row]), self.geometry.sampling_rate
        return torch.from_numpy(self.source_rows(row).read(row, rate, 0, num).samples)

    def whole(self, row: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """A whole utterance: codes[i] (1, T_i) int64 and audio[head] (1, 1, N_head), N_head its true length."""
        return [tokens[None] for tokens in self.whole_codes(row)], self.whole_audio(row, self.heads)

    def whole_audio(self, row: int, heads: Iterable[str]) -> dict[str, Tensor]:
        """Audio[head] (1, 1, N_head) of a whole utterance for some heads; nothing is encoded for it."""
        num, own_rate = int(self.num_samples[row]), self.geometry.sampling_rate
        rates = {head: self.heads[head] for head in heads}
        slices = {head: Slice(rate, 0, resampled_length(num, own_rate, rate)) for head, rate in rates.items()}
        return {head: samples[None, None] for head, (samples, _) in self._read(row, slices).items()}

    @abstractmethod
    def whole_codes(self, row: int) -> list[Tensor]:
        """Codes[i] (T_i,) int64 of a whole utterance."""

    def check_targets(self) -> None:
        """Every row has a target file: one listing per folder, no file is opened. DataError counts the missing ones."""
        for folders, _ in self.rows_by_folders():
            self.packed_sources(folders.source)  # here, once, and not in every worker
        if all(rate == self.geometry.sampling_rate for rate in self.heads.values()):
            return
        for folders, rows in self.rows_by_folders():
            missing = [] if folders.targets is None else self._missing(folders.targets, rows)
            if missing:
                raise DataError(
                    f"{folders.targets}: no target for {len(missing)} of {len(rows)} files (first: {missing[0]});"
                    " make them with snac-exp targets"
                )

    def _missing(self, targets: Path, rows: Int64Array) -> list[str]:
        packed = self._packed_in(targets)
        if packed is not None:
            return packed.missing(rows)
        return paths_without_target(self.row_table.paths.take(pa.array(rows)), targets)

    def packed_sources(self, folder: Path) -> PackedPlaces | None:
        """Where the sources lie in a packed folder that is not the one which the table is of."""
        return self._packed_in(folder)

    def _packed_in(self, folder: Path) -> PackedPlaces | None:
        # By name: another packing of the same rows has them at other places.
        if folder not in self._packed:
            self._packed[folder] = PackedPlaces.of(folder, self.row_table.paths)
        return self._packed[folder]

    def rows_by_folders(self) -> list[tuple[AudioFolders, Int64Array]]:
        """The rows of the table, in parts (n,) with where the files of each part lie."""
        return [(self.folders, self.rows)]

    @abstractmethod
    def _parts(self, spec: SliceSpec) -> tuple[list[Tensor], Tensor | None, dict[str, Part]]:
        """What the decoder starts from, over the window: codes, or audio (num,) at the codec's rate to be encoded; and
        the target of every head over the slice."""

    def _slice(self, rate: int, first: int, num_tokens: int) -> Slice:
        """Audio at `rate` over coarse tokens [first, first + num_tokens)."""
        wanted = self.geometry.audio_slice(first, num_tokens, rate)
        return Slice(rate, wanted.start, wanted.stop - wanted.start)

    def _read(self, row: int, slices: Mapping[str, Slice]) -> dict[str, Part]:
        """Slices of a row by name; those that lie in one file are read together."""
        rows = {name: self.audio_rows(row, slice_.rate) for name, slice_ in slices.items()}
        together: dict[tuple[object, ...], list[str]] = {}
        for name, found in rows.items():
            together.setdefault((found.folder, found.endings, found.delay_seconds), []).append(name)
        read: dict[str, Part] = {}
        for names in together.values():
            audio = rows[names[0]].read_slices(row, [slices[name] for name in names])
            for name, part in zip(names, audio, strict=True):
                read[name] = self._part(row, slices[name].rate, rows[name], part)
        return read

    def _part(self, row: int, rate: int, rows: PlacedRows[int], audio: RowAudio) -> Part:
        # Upsampled, the target would hold nothing above the source's band, and the head would learn that silence.
        if rate != self.geometry.sampling_rate and audio.info.rate < rate:
            raise DataError(
                f"{rows.recording(row)}: {audio.info.rate} Hz has no target for a head of {rate} Hz;"
                f" set data.target_dir to a folder of {rate} Hz targets, or leave this head out"
            )
        # Rounded down: a sample that the file fills in part is not scored.
        end = audio.info.num_samples * self.geometry.sampling_rate // audio.info.rate
        end -= math.ceil(rows.delay_seconds * self.geometry.sampling_rate)
        return torch.from_numpy(audio.samples), end

    def _check_length(self, row: int, recording: Recording, info: AudioInfo, delay: float = 0.0) -> None:
        """DataError unless the recording is as long as the row, or by its delay longer."""
        seconds = int(self.num_samples[row]) / self.geometry.sampling_rate
        if min(abs(info.seconds - seconds), abs(info.seconds - delay - seconds)) > TARGET_TOLERANCE_SECONDS:
            raise DataError(
                f"{recording}: {info.seconds:.3f} s, but its codes cover {seconds:.3f} s;"
                " the file has changed or belongs to another utterance: prepare, cache (and make targets) again"
            )


class SliceDataset(AlignedDataset):
    """The rows of one split of a code cache."""

    def __init__(
        self, table: CodeTable, rows: Int64Array, geometry: Geometry, heads: dict[str, int], folders: AudioFolders
    ) -> None:
        super().__init__(table, rows, geometry, heads, folders)
        self.table = table

    def whole_codes(self, row: int) -> list[Tensor]:
        """Codes[i] (T_i,) int64 of a whole utterance."""
        return self.table.tensors(int(self.rows[row]))

    def _parts(self, spec: SliceSpec) -> tuple[list[Tensor], Tensor | None, dict[str, Part]]:
        """Codes[i] (T_i,) over the window, no audio, and the targets."""
        codes = [self._codes(spec, i) for i in range(self.geometry.num_codebooks)]
        targets = {head: self._slice(rate, spec.start, spec.num_tokens) for head, rate in self.heads.items()}
        return codes, None, self._read(spec.row, targets)

    def _codes(self, spec: SliceSpec, codebook: int) -> Tensor:
        """Tokens (T_i,) of one codebook over the window, padded with zeros beyond the end of the utterance."""
        wanted = self.geometry.codebook_slice(codebook, spec.window_start, spec.window_tokens)
        padded = np.zeros(wanted.stop - wanted.start, dtype=np.int64)
        tokens = self.table.codes(int(self.rows[spec.row]), codebook, wanted)
        padded[: len(tokens)] = tokens
        return torch.from_numpy(padded)
