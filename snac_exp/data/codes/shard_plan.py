"""Which rows of a manifest go into which shard of its code cache: numbers alone, rows are taken shard by shard."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.codec.geometry import Geometry
from snac_exp.data.codes.encoding import Work, num_coarse_of
from snac_exp.data.prepared.manifest_rows import ManifestRow, ManifestRows
from snac_exp.data.shares import share

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShardPlan:
    """All rows in shards, ordered by length so that a shard offers full batches of equal length.

    order (rows,): the numbers of the rows in the manifest.
    """

    rows: ManifestRows
    order: Int64Array
    rows_per_shard: int

    @classmethod
    def of(cls, rows: ManifestRows, geometry: Geometry, rows_per_shard: int) -> "ShardPlan":
        """The same in every process and after every restart."""
        lengths = num_coarse_of(rows.numbers("num_samples"), rows.numbers("rate"), geometry)
        # The path decides between equal lengths. By bytes of UTF-8, as by characters.
        table = pa.table({"length": lengths, "path": rows.column("path")})
        order = pc.sort_indices(table, [("length", "ascending"), ("path", "ascending")])
        return cls(rows, order.to_numpy().astype(np.int64), rows_per_shard)

    def __len__(self) -> int:
        return -(-len(self.order) // self.rows_per_shard)

    def num_rows(self, shard: int) -> int:
        """How many rows a shard has."""
        return min(self.rows_per_shard, len(self.order) - shard * self.rows_per_shard)

    def rows_of(self, shard: int) -> list[ManifestRow]:
        """The rows of a shard, in order."""
        first = shard * self.rows_per_shard
        return self.rows.take(self.order[first : first + self.rows_per_shard])

    def part(self, index: int, count: int) -> range:
        """The shards that process `index` of `count` makes: short and long ones alike.

        Raises:
            ConfigError: there is no such process.
        """
        return share(len(self), index, count)

    def batches(self, shard: int, geometry: Geometry, max_seconds: float) -> Iterator[Work]:
        """A shard's rows, those of equal length together, up to `max_seconds` of audio at once."""

        def length_of(row: ManifestRow) -> int:
            return num_coarse_of(row.num_samples, row.rate, geometry)

        for num_coarse, equal in groupby(self.rows_of(shard), key=length_of):
            seconds = num_coarse * geometry.coarse_hop / geometry.sampling_rate
            # A file longer than the limit is a batch of its own.
            per_batch = max(int(max_seconds / seconds), 1)
            found = list(equal)
            for first in range(0, len(found), per_batch):
                yield Work(shard, found[first : first + per_batch], num_coarse)
