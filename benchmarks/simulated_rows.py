"""A data source of any number of rows that lie nowhere: codes and audio follow from the row's number.

For runs and figures of a size that no disk here has; everything but the reading of files is as with a code cache.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from snac_exp.codec.geometry import Geometry
from snac_exp.config.seeding import generator
from snac_exp.data.files.resampling import resampled_length
from snac_exp.data.prepared.places import Place
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.slices.dataset import AlignedDataset, AudioFolders, Part
from snac_exp.data.slices.sampling import SliceSpec
from snac_exp.data.slices.splits import Splits

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

Int64Array = npt.NDArray[np.int64]
NUM_SPEAKERS = 5000
NOWHERE = AudioFolders(Path("/nowhere"), None)


class SimulatedTable:
    """Utterances of 3 to 8 s; see `RowTable`."""

    def __init__(self, num_rows: int, geometry: Geometry, seed: int) -> None:
        rate, step = geometry.sampling_rate, geometry.coarse_hop * geometry.coarse_step
        self.num_samples: Int64Array = generator(seed, "simulated").integers(3 * rate, 8 * rate, num_rows)
        self.coarse_lengths: Int64Array = -(-self.num_samples // step) * geometry.coarse_step

    @property
    def paths(self) -> Any:
        """None of them is there."""
        return pa.nulls(len(self.num_samples), pa.large_string())

    @property
    def speakers(self) -> Any:
        """By turns."""
        names = pa.array([f"speaker{i}" for i in range(NUM_SPEAKERS)])
        return names.take(pa.array(np.arange(len(self.num_samples)) % NUM_SPEAKERS))

    def path(self, row: int) -> str:
        """A name."""
        return f"row{row}"

    def place(self, row: int) -> Place:
        """A file of its name."""
        return Place(self.path(row))

    def speaker(self, row: int) -> str:
        """As in `speakers`."""
        return f"speaker{row % NUM_SPEAKERS}"


class SimulatedDataset(AlignedDataset):
    """Random codes and noise by the number of the row."""

    def __init__(
        self, table: SimulatedTable, rows: Int64Array, geometry: Geometry, heads: dict[str, int], codebook_size: int
    ) -> None:
        super().__init__(table, rows, geometry, heads, NOWHERE)
        self.codebook_size = codebook_size

    def check_targets(self) -> None:
        """They are made."""

    def sha1(self, row: int) -> str:
        """Of the path."""
        return hashlib.sha1(self.path(row).encode(), usedforsecurity=False).hexdigest()

    def whole_codes(self, row: int) -> list[Tensor]:
        """Codes[i] (T_i,) int64 of a whole utterance."""
        draw, coarse = generator(0, "simulated/codes", int(self.rows[row])), int(self.coarse_lengths[row])
        sizes = [self.geometry.codebook_slice(i, 0, coarse).stop for i in range(self.geometry.num_codebooks)]
        return [torch.from_numpy(draw.integers(0, self.codebook_size, size)) for size in sizes]

    def whole_audio(self, row: int, heads: Iterable[str]) -> dict[str, Tensor]:
        """Audio[head] (1, 1, N_head) of a whole utterance for some heads."""
        num, own_rate = int(self.num_samples[row]), self.geometry.sampling_rate
        lengths = {head: resampled_length(num, own_rate, self.heads[head]) for head in heads}
        return {head: self._noise(row, length)[None, None] for head, length in lengths.items()}

    def _parts(self, spec: SliceSpec) -> tuple[list[Tensor], Tensor | None, dict[str, Part]]:
        codes = []
        for index, tokens in enumerate(self.whole_codes(spec.row)):
            wanted = self.geometry.codebook_slice(index, spec.window_start, spec.window_tokens)
            there = tokens[wanted]
            codes.append(torch.cat([there, there.new_zeros(wanted.stop - wanted.start - len(there))]))
        end, audio = int(self.num_samples[spec.row]), dict[str, Part]()
        for head, rate in self.heads.items():
            part = self.geometry.audio_slice(spec.start, spec.num_tokens, rate)
            audio[head] = self._noise(spec.row, part.stop - part.start), end
        return codes, None, audio

    def _noise(self, row: int, num: int) -> Tensor:
        draw = generator(0, "simulated/audio", int(self.rows[row]))
        return torch.from_numpy(draw.uniform(-0.1, 0.1, num).astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class SimulatedRows(CachedCodes):
    """Options of the data source: `num_rows` train, 64 validate; of a cache's it takes validation_* alone."""

    num_rows: int

    def open(self, codec: "LoadedCodec", heads: dict[str, int], seed: int) -> Splits:
        """Make the table, which is all that has a size."""
        table, size = SimulatedTable(self.num_rows + 64, codec.geometry, seed), int(codec.model.codebook_size)
        rows = np.arange(self.num_rows + 64)
        parts = (rows[: self.num_rows], rows[self.num_rows :])
        train, validation = (SimulatedDataset(table, part, codec.geometry, heads, size) for part in parts)
        lengths = {"seconds": self.validation_seconds, "num_slices": self.validation_slices}
        return Splits.of(train, validation, codec, seed, context_tokens=0, **lengths)  # type: ignore[arg-type]
