"""The sampler: each row once, uniform starts, windows inside utterances, and resuming as arithmetic."""

import inspect
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snac_exp.codec.geometry import Geometry
from snac_exp.data.slices.sampling import SliceSampler, SliceSpec, draw_starts, place, validation_specs
from snac_exp.errors import DataError

SNAC_24KHZ = Geometry(24000, 512, (4, 2, 1))
WINDOWED = Geometry(32000, 384, (8, 4, 2, 1), attn_window_size=32)

geometries = st.sampled_from([SNAC_24KHZ, WINDOWED])


@st.composite
def corpora(draw: st.DrawFn) -> tuple[Geometry, list[int]]:
    geometry = draw(geometries)
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=60))
    return geometry, [length * geometry.coarse_step for length in lengths]


def sampler(corpus: tuple[Geometry, list[int]], tokens: int, **options: int) -> SliceSampler:
    geometry, lengths = corpus
    defaults = {"seed": 3, "batch_size": 4, "context_tokens": 0, "epoch": 1}
    return SliceSampler(lengths, geometry, num_tokens=tokens * geometry.coarse_step, **(defaults | options))


@given(corpora(), st.integers(1, 20), st.integers(0, 9), st.integers(1, 20), st.integers(0, 5))
def test_every_row_once_and_every_slice_within_its_utterance(
    corpus: tuple[Geometry, list[int]], tokens: int, context: int, batch_size: int, epoch: int
) -> None:
    geometry, lengths = corpus
    chosen = sampler(corpus, tokens, batch_size=batch_size, context_tokens=context, epoch=epoch)
    batches = list(chosen)
    specs = [spec for batch in batches for spec in batch]
    assert len(batches) == len(chosen)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert Counter(spec.row for spec in specs) == Counter(range(len(lengths)))
    assert len({(spec.num_tokens, spec.window_tokens) for spec in specs}) == 1
    for spec in specs:
        length, step = lengths[spec.row], geometry.coarse_step
        assert spec.num_tokens == tokens * step
        assert spec.window_tokens - spec.num_tokens >= 2 * context
        assert spec.start % step == spec.window_start % step == spec.window_tokens % step == 0
        assert spec.start + spec.num_tokens <= max(length, spec.num_tokens)
        assert 0 <= spec.window_start <= spec.start
        assert spec.start + spec.num_tokens <= spec.window_start + spec.window_tokens
        assert spec.window_start + spec.window_tokens <= max(length, spec.window_tokens)
        assert spec.offset == spec.start - spec.window_start


@pytest.mark.slow
@given(corpora(), st.integers(1, 8), st.integers(1, 9))
def test_resuming_gives_the_tail_of_the_epoch(corpus: tuple[Geometry, list[int]], tokens: int, batch_size: int) -> None:
    whole = list(sampler(corpus, tokens, batch_size=batch_size))
    for start_batch in range(len(whole) + 2):
        resumed = sampler(corpus, tokens, batch_size=batch_size, start_batch=start_batch)
        assert list(resumed) == whole[start_batch:]
        assert len(resumed) == len(whole[start_batch:])


@pytest.mark.slow
@given(corpora(), st.integers(1, 8), st.integers(1, 9), st.integers(1, 5))
def test_ranks_share_each_batch_and_none_runs_dry(
    corpus: tuple[Geometry, list[int]], tokens: int, batch_size: int, world_size: int
) -> None:
    assume(batch_size >= world_size and len(corpus[1]) >= world_size)
    ranks = [
        list(sampler(corpus, tokens, batch_size=batch_size, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    whole = [spec for batch in sampler(corpus, tokens, batch_size=batch_size) for spec in batch]
    assert len({len(batches) for batches in ranks}) == 1
    assert all(batch for batches in ranks for batch in batches)
    joined = [spec for parts in zip(*ranks, strict=True) for part in parts for spec in part]
    assert joined == whole


def test_a_draw_depends_on_its_position_only() -> None:
    corpus = (SNAC_24KHZ, [30] * 50)
    by_batches = [[spec for batch in sampler(corpus, 5, batch_size=size) for spec in batch] for size in (1, 7, 50)]
    assert by_batches[0] == by_batches[1] == by_batches[2]
    assert by_batches[0] != [spec for batch in sampler(corpus, 5, epoch=2) for spec in batch]
    assert by_batches[0] != [spec for batch in sampler(corpus, 5, seed=4) for spec in batch]


def test_starts_are_uniform_over_all_admissible_steps() -> None:
    draws = np.random.default_rng(0).random(120_000)
    starts = draw_starts(np.full(len(draws), 48), draws, num_tokens=28, coarse_step=4)
    values, counts = np.unique(starts, return_counts=True)
    assert values.tolist() == [0, 4, 8, 12, 16, 20]
    # chi-square with 5 degrees of freedom: 20.5 is its 99.9 % quantile
    assert ((counts - 20_000) ** 2 / 20_000).sum() < 20.5
    assert draw_starts(np.array([3, 28, 32]), np.full(3, np.nextafter(1.0, 0.0)), 28, 4).tolist() == [0, 0, 4]


@pytest.mark.parametrize(
    ("start", "length", "window_start", "window_tokens"),
    [
        (10, 40, 7, 17),  # in the middle: three tokens on either side
        (1, 40, 0, 17),  # at the start the window begins at the true start, so the slice is off-centre
        (29, 40, 23, 17),  # at the end the window ends at the true end
        (2, 14, 0, 17),  # shorter than the window: from the start, padded on the right
        (0, 5, 0, 17),  # shorter than the slice
    ],
)
def test_windows_end_where_the_utterance_does(start: int, length: int, window_start: int, window_tokens: int) -> None:
    spec = place(7, start, length, num_tokens=11, context_tokens=3, geometry=SNAC_24KHZ)
    assert spec == SliceSpec(row=7, window_start=window_start, window_tokens=window_tokens, start=start, num_tokens=11)


def test_context_is_rounded_up_to_whole_attention_windows() -> None:
    assert WINDOWED.coarse_step == 4
    spec = place(0, 8, 400, num_tokens=12, context_tokens=5, geometry=WINDOWED)
    assert (spec.window_start, spec.window_tokens) == (0, 12 + 2 * 8)


def test_s10_validation_slices_do_not_follow_the_curriculum() -> None:
    lengths = np.random.default_rng(1).integers(4, 60, 40)
    specs = validation_specs(lengths, SNAC_24KHZ, seed=0, num_tokens=20, num_slices=16, context_tokens=3)
    before = list(specs)
    for epoch, tokens in [(1, 11), (4, 23), (9, 46)]:  # a curriculum passes by, in the same process
        for _ in SliceSampler(lengths, SNAC_24KHZ, 0, 8, tokens, 3, epoch):
            pass
        assert validation_specs(lengths, SNAC_24KHZ, seed=0, num_tokens=20, num_slices=16, context_tokens=3) == before
    assert {spec.num_tokens for spec in specs} == {20}
    assert {"epoch", "stage", "batch_size"}.isdisjoint(inspect.signature(validation_specs).parameters)
    assert len({spec.row for spec in specs}) == 16
    assert validation_specs(lengths, SNAC_24KHZ, 1, 20, 16, 3) != before


def test_validation_takes_more_slices_of_few_rows_but_none_twice() -> None:
    specs = validation_specs([40, 5], SNAC_24KHZ, seed=0, num_tokens=10, num_slices=12, context_tokens=0)
    assert len(set(specs)) == len(specs)
    assert Counter(spec.row for spec in specs)[1] == 1
    assert Counter(spec.row for spec in specs)[0] > 3
    with pytest.raises(DataError, match="no validation rows"):
        validation_specs([], SNAC_24KHZ, 0, 10, 4, 0)


def test_impossible_batching_is_refused() -> None:
    with pytest.raises(DataError, match="do not feed 4 devices"):
        SliceSampler([9] * 10, SNAC_24KHZ, 0, 2, 4, 0, epoch=1, world_size=4)
    with pytest.raises(ValueError, match="whole number of steps of 4"):
        SliceSampler([8], WINDOWED, 0, 1, 6, 0, epoch=1)
    with pytest.raises(ValueError, match="whole steps"):
        SliceSampler([7], WINDOWED, 0, 1, 4, 0, epoch=1)


def test_starting_late_in_a_large_epoch_costs_no_walk_through_it() -> None:
    lengths = np.full(1_000_000, 50)
    late = SliceSampler(lengths, SNAC_24KHZ, 0, 100, 11, 3, epoch=1, start_batch=9_999)
    assert len(late) == 1
    assert len(next(iter(late))) == 100
