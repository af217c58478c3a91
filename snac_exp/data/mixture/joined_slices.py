"""The datasets of several sources as one: rows of the first source, then of the second, and so on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from snac_exp.data.prepared.places import Place
from snac_exp.data.slices.dataset import AlignedDataset, AudioFolders, Part
from snac_exp.data.slices.sampling import SliceSpec

Int64Array = npt.NDArray[np.int64]


class JoinedDataset(AlignedDataset):
    """Answers for every row as the dataset does that the row is of. firsts (parts + 1,): where each part begins."""

    def __init__(self, parts: Sequence[AlignedDataset]) -> None:
        # Not the base's, which has one table of rows: here every part has its own.
        self.parts, first = tuple(parts), parts[0]
        self.geometry, self.heads, self.folders = first.geometry, first.heads, first.folders
        self.firsts: Int64Array = np.cumsum([0, *map(len, parts)])
        self.rows: Int64Array = np.arange(self.firsts[-1])
        self.coarse_lengths = np.concatenate([part.coarse_lengths for part in parts])
        self.num_samples = np.concatenate([part.num_samples for part in parts])

    def part_of(self, row: int) -> tuple[AlignedDataset, int]:
        """The dataset of a row, and the row's number there."""
        number = int(np.searchsorted(self.firsts, row, side="right")) - 1
        return self.parts[number], row - int(self.firsts[number])

    def path(self, row: int) -> str:
        """Name of the row in its source."""
        part, own = self.part_of(row)
        return part.path(own)

    def place(self, row: int) -> Place:
        """Where the source audio lies below the audio root of its source."""
        part, own = self.part_of(row)
        return part.place(own)

    def speaker(self, row: int) -> str:
        """Speaker of the row."""
        part, own = self.part_of(row)
        return part.speaker(own)

    def folders_of(self, row: int) -> AudioFolders:
        """Where the row's files lie."""
        part, own = self.part_of(row)
        return part.folders_of(own)

    def whole_codes(self, row: int) -> list[Tensor]:
        """Codes[i] (T_i,) int64 of a whole utterance."""
        part, own = self.part_of(row)
        return part.whole_codes(own)

    def check_targets(self) -> None:
        """Every row has a target file; see `AlignedDataset.check_targets`."""
        for part in self.parts:
            part.check_targets()

    def rows_by_folders(self) -> list[tuple[AudioFolders, Int64Array]]:
        """The rows of every part's table (n,), with where the files of each lie."""
        return [found for part in self.parts for found in part.rows_by_folders()]

    def _parts(self, spec: SliceSpec) -> tuple[list[Tensor], Tensor | None, dict[str, Part]]:
        part, row = self.part_of(spec.row)
        return part._parts(replace(spec, row=row))
