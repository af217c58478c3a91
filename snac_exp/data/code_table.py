"""All codes of a cache in memory: a slice of a row costs no file access and no copy of anything but itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snac_exp.data.shards import CacheIdentity, common_identity, list_shards, read_metadata
from snac_exp.errors import DataError

UInt16Array = npt.NDArray[np.uint16]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CodeTable:
    """The rows of a cache. All tokens of codebook i lie in `values[i]`, row r at offsets[i][r] to offsets[i][r + 1].

    num_samples (rows,): true length of each utterance at the codec's rate. Strings stay in Arrow: lists of Python
    strings would be copied page by page into every worker. origins: devices and versions that made the codes.
    """

    identity: CacheIdentity
    values: list[UInt16Array]
    offsets: list[Int64Array]
    num_samples: Int64Array
    paths: Any
    splits: Any
    speakers: Any
    origins: frozenset[tuple[str, ...]]

    @classmethod
    def open(cls, cache_dir: Path) -> "CodeTable":
        """Read all shards of a complete cache; DataError if it is absent, incomplete, mixed or damaged."""
        shards = list_shards(cache_dir)
        identity = common_identity(shards)
        table = pa.concat_tables(_read_shard(path) for path in shards)
        lists = [_list_column(table, f"codes_{i}") for i in range(len(identity.vq_strides))]
        codes = cls(
            identity=identity,
            values=[values for values, _ in lists],
            offsets=[offsets for _, offsets in lists],
            num_samples=table["num_samples"].to_numpy(),
            paths=table["path"],
            splits=table["split"],
            speakers=table["speaker"],
            origins=frozenset(read_metadata(path).origin for path in shards),
        )
        codes._check_lengths(cache_dir)
        return codes

    def __len__(self) -> int:
        return len(self.num_samples)

    @property
    def coarse_lengths(self) -> Int64Array:
        """Coarse tokens of each row (rows,)."""
        return np.diff(self.offsets[0])

    def codes(self, row: int, codebook: int, tokens: slice = slice(None)) -> UInt16Array:
        """Tokens of one codebook of one row, a view; the slice counts that codebook's tokens and is cut at the end."""
        first, stop = self.offsets[codebook][row : row + 2]
        return self.values[codebook][first:stop][tokens]

    def path(self, row: int) -> str:
        """Path of the row's source file relative to the audio root."""
        return str(self.paths[row].as_py())

    def speaker(self, row: int) -> str:
        """Speaker of the row."""
        return str(self.speakers[row].as_py())

    def rows_of(self, split: str) -> Int64Array:
        """Row numbers of a split."""
        return np.flatnonzero(np.asarray(pc.equal(self.splits, split)))

    def _check_lengths(self, cache_dir: Path) -> None:
        """Every codebook has its share of tokens and the audio is as long as they are."""
        geometry = self.identity.geometry
        coarse = self.coarse_lengths
        for i, stride in enumerate(geometry.vq_strides):
            wrong = np.flatnonzero(np.diff(self.offsets[i]) * stride != coarse * geometry.vq_strides[0])
            if len(wrong):
                raise DataError(
                    f"{cache_dir}: {self.path(wrong[0])} has a wrong number of tokens in codebook {i}; cache again"
                )
        step_samples = geometry.coarse_step * geometry.coarse_hop
        wrong = np.flatnonzero(-(-self.num_samples // step_samples) * geometry.coarse_step != coarse)
        if len(wrong):
            raise DataError(
                f"{cache_dir}: {self.path(wrong[0])} has codes of another length than its audio; cache again"
            )


def _read_shard(path: Path) -> pa.Table:
    try:
        return pq.read_table(path).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it and run the same cache-codes command again") from error


def _list_column(table: pa.Table, name: str) -> tuple[UInt16Array, Int64Array]:
    """All values of a list column and the (rows + 1) offsets of its lists, free of Arrow's 32-bit offsets."""
    chunks = table[name].chunks
    values = np.concatenate([chunk.flatten().to_numpy() for chunk in chunks] or [np.zeros(0, np.uint16)])
    lengths = np.concatenate([chunk.value_lengths().to_numpy() for chunk in chunks] or [np.zeros(0, np.int64)])
    return values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
