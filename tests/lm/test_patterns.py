"""Patterns: exact inverses, and what each prediction may see."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snac_exp.errors import ConfigError
from snac_exp.lm.patterns import ABSENT, NAMES, Pattern

shapes = {"name": st.sampled_from(NAMES), "num_frames": st.integers(1, 12), "num_streams": st.integers(1, 9)}


def frames_of(num_frames: int, num_streams: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1024, (2, num_frames, num_streams), generator=torch.Generator().manual_seed(seed))


@given(**shapes)
def test_every_pattern_round_trips(name: str, num_frames: int, num_streams: int) -> None:
    frames, pattern = frames_of(num_frames, num_streams), Pattern(name, num_streams)
    layout = pattern.lay_out(frames)
    assert layout.shape == (2, pattern.num_steps(num_frames), pattern.width)
    assert torch.equal(pattern.frames_of(layout), frames)
    for k in range(num_streams):
        column = layout[:, pattern.steps_of(k, num_frames), k if pattern.width > 1 else 0]
        assert torch.equal(column, frames[:, :, k])
    assert (layout != ABSENT).sum() == frames.numel(), "every token stands in the layout exactly once"


@given(**shapes, first=st.integers(0, 11))
def test_a_window_of_the_layout_is_the_layout_of_the_window(
    name: str, num_frames: int, num_streams: int, first: int
) -> None:
    first = min(first, num_frames - 1)
    frames, pattern = frames_of(num_frames, num_streams), Pattern(name, num_streams)
    assert torch.equal(pattern.window(pattern.lay_out(frames), first), pattern.lay_out(frames[:, first:]))


def test_the_layouts_in_numbers() -> None:
    frames = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    assert Pattern("parallel", 3).lay_out(frames).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert Pattern("delay", 3).lay_out(frames).tolist() == [[[1, -1, -1], [4, 2, -1], [-1, 5, 3], [-1, -1, 6]]]
    assert Pattern("flatten", 3).lay_out(frames).tolist() == [[[1], [2], [3], [4], [5], [6]]]


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of: parallel, delay, flatten, depth"):
        Pattern("spiral", 3)
