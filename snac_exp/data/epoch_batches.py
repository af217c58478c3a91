"""The batches of one epoch as positions in its order: each item once, a part of every batch for each rank.

Everything is a function of (seed, epoch, position), so resuming within an epoch asks for the tail of the same list.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snac_exp.config.seeding import generator
from snac_exp.data.num_batches import num_batches_of
from snac_exp.errors import DataError

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EpochBatches:
    """How an epoch of `num_items` is cut into batches; iterating gives this rank's positions [start, stop) of each.

    batch_size: items over all ranks and micro-batches; each rank gets a contiguous part. The last batch may be smaller;
    where it has fewer items than there are ranks it is joined to the one before, so that no rank runs dry.
    start_batch: begin in the middle of the epoch.

    Raises:
        DataError: there are fewer items, in all or in a batch, than ranks.
    """

    num_items: int
    batch_size: int
    start_batch: int = 0
    rank: int = 0
    world_size: int = 1
    noun: str = "rows"

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not one of {self.world_size}")
        if self.batch_size < self.world_size or self.num_items < self.world_size:
            raise DataError(
                f"{self.num_items} {self.noun} in batches of {self.batch_size} do not feed {self.world_size} devices;"
                " use fewer devices, a larger trainer.batch_size or more data"
            )

    def __len__(self) -> int:
        return max(num_batches_of(self.num_items, self.batch_size, self.world_size) - self.start_batch, 0)

    def __iter__(self) -> Iterator[slice]:
        for batch in range(self.start_batch, self.start_batch + len(self)):
            whole = self.whole(batch)
            first, num = whole.start, whole.stop - whole.start
            # Cut by proportion: parts of a batch that does not divide evenly differ by one item at most.
            yield slice(first + num * self.rank // self.world_size, first + num * (self.rank + 1) // self.world_size)

    def whole(self, batch: int) -> slice:
        """The positions of a batch over all ranks."""
        last = num_batches_of(self.num_items, self.batch_size, self.world_size) - 1
        first = batch * self.batch_size
        # The last batch takes all that is left, a rest that was joined to it included.
        return slice(first, self.num_items if batch == last else first + self.batch_size)

    def order(self, seed: int, purpose: str, epoch: int) -> Int64Array:
        """The items (num_items,) at the positions of an epoch, shuffled by (seed, purpose, epoch)."""
        # The same on every rank: each takes its own positions of one permutation, so none is lost or taken twice.
        return generator(seed, purpose, epoch).permutation(self.num_items)
