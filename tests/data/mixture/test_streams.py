"""What an epoch of a mixture holds: its shares to the item, every item equally often, by (seed, epoch) alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snac_exp.data.mixture.rows_seen import RowsSeen
from snac_exp.data.mixture.shares import counts_of, shares_of
from snac_exp.data.mixture.streams import Streams
from snac_exp.errors import ConfigError

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=4)


def streams(sizes: list[int], counts: list[int], seed: int = 0, speakers: int = 1) -> Streams:
    names = [f"s{i}" for i in range(len(sizes))]
    groups = [np.arange(size) % min(speakers, size) for size in sizes]
    return Streams.of(names, groups, counts, seed)


@given(sizes=SIZES, counts=st.lists(st.integers(1, 50), min_size=4, max_size=4), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_an_epoch_has_the_shares_and_no_item_comes_more_often_than_others(
    sizes: list[int], counts: list[int], seed: int
) -> None:
    made, epochs = streams(sizes, counts[: len(sizes)], seed), 5
    seen = np.zeros(sum(sizes), np.int64)
    for epoch in range(1, epochs + 1):
        items = made.epoch_items(epoch)
        assert np.bincount(made.source_of(items), minlength=len(sizes)).tolist() == counts[: len(sizes)]
        assert np.array_equal(items, streams(sizes, counts[: len(sizes)], seed).epoch_items(epoch))
        np.add.at(seen, items, 1)
    for source, (first, stop) in enumerate(zip(made.firsts, made.firsts[1:], strict=False)):
        found, expected = seen[first:stop], epochs * counts[source] / sizes[source]
        assert set(found.tolist()) <= {math.floor(expected), math.ceil(expected)}, "over epochs, not within each"


@given(sizes=SIZES, speakers=st.integers(1, 5))
@settings(max_examples=40)
def test_speakers_take_turns_whatever_they_have(sizes: list[int], speakers: int) -> None:
    made = streams(sizes, [20] * len(sizes), speakers=speakers)
    for epoch in (1, 2, 3):
        items = made.epoch_items(epoch)
        for source, size in enumerate(sizes):
            own = items[made.source_of(items) == source] - made.firsts[source]
            number = min(speakers, size)
            turns = np.bincount(own % number, minlength=number)
            assert turns.max() - turns.min() <= 1


def test_a_speaker_of_few_rows_comes_as_often_as_one_of_many() -> None:
    groups = [np.array([0] * 90 + [1] * 10)]
    made = Streams.of(["a"], groups, [100], seed=3)
    rows = np.concatenate([made.epoch_items(epoch) for epoch in (1, 2, 3)])
    assert np.bincount(groups[0][rows]).tolist() == [150, 150]
    few = np.bincount(rows, minlength=100)[90:]
    assert few.tolist() == [15] * 10
    assert (
        streams([100], [100], seed=1).epoch_items(1).tolist() != streams([100], [100], seed=2).epoch_items(1).tolist()
    )


@given(weights=st.lists(st.floats(0.1, 100), min_size=1, max_size=5), total=st.integers(10_000, 100_000))
@settings(max_examples=60)
def test_counts_add_up_and_are_within_one_of_the_shares(weights: list[float], total: int) -> None:
    names = [f"s{i}" for i in range(len(weights))]
    shares = shares_of(dict(zip(names, weights, strict=True)), [1.0] * len(weights), None)
    counts = counts_of(names, shares, total)
    assert sum(counts) == total
    assert all(abs(count - share * total) < 1 for count, share in zip(counts, shares, strict=True))


def test_a_temperature_flattens_the_shares_of_hours() -> None:
    none = dict.fromkeys(("a", "b"))
    assert shares_of(none, [9.0, 1.0], None) == pytest.approx((0.9, 0.1))
    assert shares_of(none, [9.0, 1.0], 2.0) == pytest.approx((0.75, 0.25))
    assert shares_of(none, [9.0, 1.0], math.inf) == (0.5, 0.5)
    assert shares_of({"a": 3, "b": 1}, [1.0, 1.0], None) == (0.75, 0.25)


@pytest.mark.parametrize(
    ("weights", "temperature", "message"),
    [
        ({"a": 0.0, "b": 1.0}, None, r"data\.sources\.a\.weight=0\.0 must be a number greater than 0; leave a source"),
        ({"a": 1.0, "b": -1.0}, None, r"data\.sources\.b\.weight=-1\.0 must be"),
        ({"a": math.nan, "b": 1.0}, None, r"data\.sources\.a\.weight=nan must be"),
        ({"a": math.inf, "b": 1.0}, None, r"data\.sources\.a\.weight=inf must be"),
        ({"a": 1.0, "b": None}, None, r"data\.sources\.b has no weight, others have"),
        ({"a": 1.0, "b": 1.0}, 2.0, r"data\.temperature takes the place of weights"),
        ({"a": None, "b": None}, 0.0, r"data\.temperature=0\.0 must be greater than 0"),
    ],
)
def test_shares_that_make_no_sense_are_named(
    weights: dict[str, float | None], temperature: float | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        shares_of(weights, [1.0, 1.0], temperature)


def test_a_source_that_would_never_come_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.sources\.b has 0\.001 of the mixture, less than one of 100 items"):
        counts_of(["a", "b"], (0.999, 0.001), 100)


def test_rows_seen_are_counted_by_name_and_come_back() -> None:
    seen, again = RowsSeen(), RowsSeen()
    assert seen.metrics() == {}
    seen.add({"a": 3, "b": 1})
    seen.add({"a": 3, "b": 1})
    again.load_state_dict(seen.state_dict())
    assert again.metrics() == {"data/rows_seen/a": 6.0, "data/rows_seen/b": 2.0}
    assert again.line() == "rows seen: a 6 (75.0%), b 2 (25.0%)"
