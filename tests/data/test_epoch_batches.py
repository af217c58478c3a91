"""Batches of slices and of windows: which, in which order, is fixed for ever by (seed, epoch, position)."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from snac_exp.codec.geometry import Geometry
from snac_exp.config.schema import Augment
from snac_exp.data.epoch_batches import EpochBatches
from snac_exp.data.slices.augmenting import Change
from snac_exp.data.slices.sampling import SliceSampler
from snac_exp.data.tokens.windows import WindowIndex, WindowSampler
from snac_exp.errors import DataError

GEOMETRY = Geometry(24000, 512, (4, 2, 1), None)
LENGTHS = np.random.default_rng(5).integers(1, 60, 23)
GAIN = (-6.0, 6.0)


def digest(batches: Iterable[list[Any]]) -> str:
    """Of every field of every spec of every batch, in order; of a change its gain."""
    fields = [[tuple(map(_plain, vars_of(spec))) for spec in batch] for batch in batches]
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:16]


def vars_of(spec: Any) -> list[Any]:
    return [getattr(spec, name) for name in spec.__dataclass_fields__]


def _plain(value: Any) -> Any:
    return value.gain_db if isinstance(value, Change) else value


@pytest.mark.parametrize(
    ("seed", "epoch", "batch_size", "start", "rank", "world_size", "gain_db", "slices", "windows"),
    [
        (0, 0, 4, 0, 0, 1, None, "3e67874bc2538e41", "57650a1db1b4bbce"),
        (7, 3, 4, 2, 0, 1, GAIN, "4cd3c26274006dcb", "20c588f67c8d30eb"),
        (7, 3, 7, 0, 1, 2, None, "82604235e581de26", "7347372f0b273795"),
        (1, 2, 11, 1, 2, 3, None, "5f4dc2d68ef42e6b", "397d72bb06013b58"),
    ],
)
def test_the_order_is_that_of_every_run_before(
    seed: int,
    epoch: int,
    batch_size: int,
    start: int,
    rank: int,
    world_size: int,
    gain_db: tuple[float, float] | None,
    slices: str,
    windows: str,
) -> None:
    """A run that goes on must meet the batches it would have met: these digests may never change."""
    index = WindowIndex(np.arange(23) * 2, LENGTHS * 3, 9, 4)
    place = (start, rank, world_size)
    assert digest(SliceSampler(LENGTHS, GEOMETRY, seed, batch_size, 5, 2, epoch, *place, Augment(gain_db))) == slices
    assert digest(WindowSampler(index, seed, batch_size, epoch, *place)) == windows


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_items", [3, 7, 12, 13])
def test_ranks_share_every_position_once(num_items: int, world_size: int) -> None:
    ranks = [list(EpochBatches(num_items, 5, 0, rank, world_size)) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    positions = [list(range(part.start, part.stop)) for batch in zip(*ranks, strict=True) for part in batch]
    assert [place for part in positions for place in part] == list(range(num_items))
    assert all(positions)


def test_what_cannot_feed_every_rank_is_refused() -> None:
    with pytest.raises(DataError, match="10 windows in batches of 2 do not feed 4 devices"):
        EpochBatches(10, 2, world_size=4, noun="windows")
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        EpochBatches(10, 2, rank=2, world_size=2)
