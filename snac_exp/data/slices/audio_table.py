"""The rows of one or several prepared folders, as the slice dataset reads them: lengths as arrays, strings in Arrow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.codec.geometry import Geometry
from snac_exp.data.prepared.manifest_rows import SCHEMA
from snac_exp.data.prepared.places import PLACE_SCHEMA, WHOLE_FILE, Place, Places
from snac_exp.data.slices.dataset import AudioFolders

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AudioTable:
    """All rows of all folders, one folder after the other; `firsts` (folders + 1,) says where each begins.

    num_samples (rows,): at the codec's rate. coarse_lengths (rows,): coarse tokens the whole utterance encodes to.
    """

    folders: list[AudioFolders]
    firsts: Int64Array
    num_samples: Int64Array
    coarse_lengths: Int64Array
    paths: Any
    splits: Any
    speakers: Any
    places: Places

    @classmethod
    def build(cls, tables: Sequence[pa.Table], folders: Sequence[AudioFolders], geometry: Geometry) -> "AudioTable":
        """From the tables of manifests and where the files of each lie."""
        placed = any("file" in table.schema.names for table in tables)
        parts = [_with_places(table) if placed else _without_header(table) for table in tables]
        # Mapped tables have large strings, others small ones.
        rows = parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")
        samples = rows["num_samples"].to_numpy() * geometry.sampling_rate
        # ceil(N * codec rate / rate) in whole numbers, as `resampled_length`.
        num_samples: Int64Array = -(-samples // rows["rate"].to_numpy().astype(np.int64))
        paths = _one_array(rows["path"])
        step_samples = geometry.coarse_hop * geometry.coarse_step
        return cls(
            folders=list(folders),
            firsts=np.cumsum([0, *(len(table) for table in tables)]),
            num_samples=num_samples,
            # `Geometry.coarse_tokens_of`, of all rows at once.
            coarse_lengths=-(-num_samples // step_samples) * geometry.coarse_step,
            paths=paths,
            splits=_one_array(rows["split"]),
            speakers=_one_array(rows["speaker"]),
            places=Places(paths, {name: rows[name] for name in PLACE_SCHEMA.names} if placed else None),
        )

    def __len__(self) -> int:
        return len(self.num_samples)

    def path(self, row: int) -> str:
        """Name of the row; of a source file of its own, its path relative to its folder of audio."""
        return str(self.paths[row].as_py())

    def place(self, row: int) -> Place:
        """Where the row's audio lies below its folder of audio."""
        return self.places[row]

    def speaker(self, row: int) -> str:
        """Speaker of the row."""
        return str(self.speakers[row].as_py())

    def folder_of(self, row: int) -> int:
        """Number of the row's folder."""
        # `right`: the first row of a folder belongs to it, also where an empty folder stands before.
        return int(np.searchsorted(self.firsts, row, side="right")) - 1

    def rows_of(self, split: str, folder: int) -> Int64Array:
        """Row numbers (n,) of a split of one folder."""
        first, stop = self.firsts[folder : folder + 2]
        inside = np.flatnonzero(np.asarray(pc.equal(self.splits.slice(first, stop - first), split)))
        return np.asarray(first + inside, dtype=np.int64)


def _without_header(table: pa.Table) -> pa.Table:
    """The columns that are read here. The first folder's header would stand for all."""
    return table.select([*SCHEMA.names]).replace_schema_metadata(None)


def _with_places(table: pa.Table) -> pa.Table:
    """The same with the columns of PLACE_SCHEMA, also of a folder of files."""
    rows = _without_header(table)
    if "file" in table.schema.names:
        found = [table[name] for name in PLACE_SCHEMA.names]
    else:
        zeros = pa.array(np.zeros(len(rows), np.int64))
        whole, length = pa.array(np.full(len(rows), WHOLE_FILE)), rows["num_samples"]
        found = [rows["path"], whole, zeros, zeros, length, length]
    for name, column in zip(PLACE_SCHEMA.names, found, strict=True):
        rows = rows.append_column(name, column)
    return rows


def _one_array(column: Any) -> Any:
    """A column of strings in one piece; 64-bit offsets, since millions of paths may exceed 2 GB."""
    large = column.cast(pa.large_string())
    return large.chunk(0) if large.num_chunks == 1 else large.combine_chunks()  # which would copy a mapped one
