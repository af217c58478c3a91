"""The rows of one or several prepared folders, as the slice dataset reads them: lengths as arrays, strings in Arrow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.codec.geometry import Geometry
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

    @classmethod
    def build(cls, tables: Sequence[pa.Table], folders: Sequence[AudioFolders], geometry: Geometry) -> "AudioTable":
        """From the tables of manifests and where the files of each lie."""
        # Without their headers: the first folder's would stand for all.
        rows = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
        samples = rows["num_samples"].to_numpy() * geometry.sampling_rate
        # ceil(N * codec rate / rate) in whole numbers, as `resampled_length`.
        num_samples: Int64Array = -(-samples // rows["rate"].to_numpy().astype(np.int64))
        step_samples = geometry.coarse_hop * geometry.coarse_step
        return cls(
            folders=list(folders),
            firsts=np.cumsum([0, *(len(table) for table in tables)]),
            num_samples=num_samples,
            # `Geometry.coarse_tokens_of`, of all rows at once.
            coarse_lengths=-(-num_samples // step_samples) * geometry.coarse_step,
            paths=_one_array(rows["path"]),
            splits=_one_array(rows["split"]),
            speakers=_one_array(rows["speaker"]),
        )

    def __len__(self) -> int:
        return len(self.num_samples)

    def path(self, row: int) -> str:
        """Path of the row's source file relative to its folder of audio."""
        return str(self.paths[row].as_py())

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


def _one_array(column: Any) -> Any:
    """A column of strings in one piece; 64-bit offsets, since millions of paths may exceed 2 GB."""
    return column.cast(pa.large_string()).combine_chunks()
