"""Which items of every source an epoch of a mixture holds: a function of (seed, epoch) alone.

Every source is an endless stream that goes round its items in a shuffled order; an epoch takes the next ones of each,
as many as the source's share says. So the items of a source come equally often, whatever its share, and a large source
of a small share is gone through over several epochs. Nothing has a state: epoch e begins at (e - 1) times its number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snac_exp.config.seeding import generator

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cycle:
    """The stream of one source. order (items,): its items, group after group, shuffled within each; starts, lengths
    (groups,): of the groups in it. Groups take turns; one group is all items in turn."""

    order: Int64Array
    starts: Int64Array
    lengths: Int64Array

    @classmethod
    def of(cls, groups: Int64Array, seed: int, source: int) -> "Cycle":
        """groups (items,): of each item, from 0 on without gaps."""
        draw = generator(seed, "mixture", source)
        order = np.lexsort([draw.random(len(groups)), groups])
        lengths = np.bincount(groups)
        starts = np.cumsum(lengths) - lengths
        turns = draw.permutation(len(lengths))
        return cls(order, starts[turns], lengths[turns])

    def items(self, first: int, stop: int) -> Int64Array:
        """The items (stop - first,) at these places of the endless stream."""
        rounds, groups = np.divmod(np.arange(first, stop, dtype=np.int64), len(self.lengths))
        found: Int64Array = self.order[self.starts[groups] + rounds % self.lengths[groups]]
        return found


@dataclass(frozen=True)
class Streams:
    """The sources of a mixture. firsts (sources + 1,): items [firsts[i], firsts[i + 1]) are of source i. counts: items
    of each in an epoch."""

    names: tuple[str, ...]
    firsts: Int64Array
    cycles: tuple[Cycle, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, names: Sequence[str], groups: Sequence[Int64Array], counts: Sequence[int], seed: int) -> "Streams":
        """groups: of every source its items' groups, see `Cycle.of`."""
        firsts = np.cumsum([0, *map(len, groups)])
        cycles = tuple(Cycle.of(found, seed, number) for number, found in enumerate(groups))
        return cls(tuple(names), firsts, cycles, tuple(counts))

    @property
    def num_items(self) -> int:
        """Items of an epoch."""
        return sum(self.counts)

    def described(self) -> str:
        """For people: what an epoch takes of each source."""
        sizes = np.diff(self.firsts).tolist()
        parts = [
            f"{count:,} of {name} ({count / self.num_items:.1%}, {count / size:.3g} times its rows)"
            for name, count, size in zip(self.names, self.counts, sizes, strict=True)
        ]
        return f"an epoch takes {', '.join(parts)}"

    def epoch_items(self, epoch: int) -> Int64Array:
        """The items (num_items,) of an epoch, counted from 1, source after source."""
        return np.concatenate(
            [
                first + cycle.items((epoch - 1) * count, epoch * count)
                for first, cycle, count in zip(self.firsts[:-1], self.cycles, self.counts, strict=True)
            ]
        )

    def counted(self, items: Int64Array) -> dict[str, int]:
        """How many of the items (n,) are of each source, by name."""
        numbers = np.bincount(self.source_of(items), minlength=len(self.names)).tolist()
        return dict(zip(self.names, numbers, strict=True))

    def source_of(self, items: Int64Array) -> Int64Array:
        """The number of the source (n,) of every item (n,)."""
        # `right`: the first item of a source belongs to it.
        return np.searchsorted(self.firsts, items, side="right") - 1
