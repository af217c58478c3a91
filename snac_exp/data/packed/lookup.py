"""Rows of another table found by name in a packed folder: packed sources for codes that were made of files, targets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from snac_exp.data.prepared.manifest import is_packed, open_manifest_table
from snac_exp.data.prepared.places import Place, Places
from snac_exp.errors import DataError

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PackedPlaces:
    """Places in a packed folder of the rows of another table. index (rows,): their rows there, -1 = none."""

    folder: Path
    places: Places
    paths: Any
    index: Int64Array

    @classmethod
    def of(cls, folder: Path, paths: Any) -> "PackedPlaces | None":
        """For rows of these paths (an Arrow array); None where the folder is not a packed one.

        Raises:
            DataError: its manifest is damaged.
        """
        if not is_packed(folder):
            return None
        rows, _ = open_manifest_table(folder)
        there = rows["path"].combine_chunks() if rows["path"].num_chunks != 1 else rows["path"].chunk(0)
        found = pc.fill_null(pc.index_in(paths, value_set=there.cast(paths.type)), -1)
        return cls(folder, Places.of_table(rows), paths, np.asarray(found).astype(np.int64))

    def place(self, row: int) -> Place:
        """Of a row of the other table; DataError where the folder has none of its name."""
        found = int(self.index[row])
        if found < 0:
            raise DataError(f"{self.folder}: has no row {self.paths[row]}; pack the folder that has it")
        return self.places[found]

    def missing(self, rows: Int64Array) -> list[str]:
        """Paths of those of the rows (n,) that are not there."""
        return [str(self.paths[int(row)]) for row in rows[self.index[rows] < 0]]
