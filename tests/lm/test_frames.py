"""SNAC's hierarchical codes as frames, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snac_exp.errors import DataError
from snac_exp.lm.frames import FrameLayout, repeat_streams, stack_coarse, take_streams, unstack_coarse

strides = st.sampled_from([(4, 2, 1), (8, 4, 2, 1), (8, 4, 2), (1,), (1, 1, 1), (6, 3, 2), (2, 2, 1)])


@st.composite
def hierarchical(draw: st.DrawFn) -> tuple[list[np.ndarray], tuple[int, ...]]:
    vq_strides = draw(strides)
    num_coarse = draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return [rng.integers(0, 4096, num_coarse * vq_strides[0] // stride) for stride in vq_strides], vq_strides


@given(hierarchical())
def test_coarse_frames_and_repeated_streams_are_exactly_invertible(
    content: tuple[list[np.ndarray], tuple[int, ...]],
) -> None:
    codes, vq_strides = content
    for back in (
        unstack_coarse(stack_coarse(codes, vq_strides), vq_strides),
        take_streams(repeat_streams(codes, vq_strides), vq_strides),
    ):
        assert all(np.array_equal(one, other) for one, other in zip(back, codes, strict=True))


def test_a_coarse_frame_of_snac_24khz_holds_seven_tokens_in_order_of_time() -> None:
    codes = [np.array([0, 1]), np.array([10, 11, 12, 13]), np.arange(20, 28)]
    frames = stack_coarse(codes, (4, 2, 1))
    assert frames.tolist() == [[0, 10, 20, 21, 11, 22, 23], [1, 12, 24, 25, 13, 26, 27]]
    layout = FrameLayout.coarse((4, 2, 1), 4096, 24000 / 2048)
    assert layout.codebooks == (0, 1, 2, 2, 1, 2, 2)
    assert (layout.num_streams, layout.num_codebooks, layout.alignment) == (7, 3, 1)


def test_repeated_streams_run_at_the_finest_rate_and_score_each_token_once() -> None:
    codes = [np.array([5]), np.array([6, 7]), np.array([1, 2, 3, 4])]
    assert repeat_streams(codes, (4, 2, 1)).tolist() == [[5, 6, 1], [5, 6, 2], [5, 7, 3], [5, 7, 4]]
    layout = FrameLayout.repeated((4, 2, 1), 4096, 24000 / 2048)
    assert (layout.periods, layout.frames_per_second, layout.alignment) == ((4, 2, 1), 46.875, 4)
    assert layout.tokens_per_second == FrameLayout.coarse((4, 2, 1), 4096, 24000 / 2048).tokens_per_second == 82.03125


def test_codes_that_do_not_cover_the_same_time_are_refused() -> None:
    codes = [np.array([0]), np.array([1, 2]), np.array([3, 4, 5])]
    with pytest.raises(DataError, match="codebook 2 has 3 tokens where 1 coarse tokens need 4"):
        stack_coarse(codes, (4, 2, 1))
    with pytest.raises(DataError, match="do not cover the same time"):
        repeat_streams(codes, (4, 2, 1))
    with pytest.raises(DataError, match="no whole number of coarse tokens"):
        take_streams(np.zeros((5, 3), np.int64), (4, 2, 1))
    with pytest.raises(DataError, match=r"\(2, 3\) are not \(frames, 7 streams\)"):
        unstack_coarse(np.zeros((2, 3), np.int64), (4, 2, 1))
