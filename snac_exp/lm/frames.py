"""Tokens as frames of parallel streams: what one frame holds, and SNAC's hierarchical codes as such frames.

A codec with one token rate (DAC) has a stream per codebook. SNAC's codebook i has vq_strides[0] / vq_strides[i] tokens
per coarse token; its codes become either coarse frames, every token of a coarse token's time in a stream of its own
(1 + 2 + 4 = 7 for snac_24khz), or frames at the finest rate with the slower codebooks repeated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snac_exp.errors import DataError

Tokens = npt.NDArray[Any]


@dataclass(frozen=True)
class FrameLayout:
    """What the streams of a frame are.

    vocab_sizes, codebooks, periods (K,): entries, codebook and frames per new token of each stream; in the frames
    between, a stream repeats its token, which is then never scored. frames_per_second in Hz.
    """

    vocab_sizes: tuple[int, ...]
    codebooks: tuple[int, ...]
    periods: tuple[int, ...]
    frames_per_second: float

    @classmethod
    def plain(cls, vocab_sizes: Sequence[int], frames_per_second: float) -> "FrameLayout":
        """One stream per codebook, one token rate."""
        num = len(vocab_sizes)
        return cls(tuple(vocab_sizes), tuple(range(num)), (1,) * num, frames_per_second)

    @classmethod
    def coarse(cls, vq_strides: Sequence[int], codebook_size: int, coarse_rate_hz: float) -> "FrameLayout":
        """Coarse frames of a SNAC codec, see `stack_coarse`."""
        codebooks = tuple(codebook for _, codebook in _coarse_order(vq_strides))
        return cls((codebook_size,) * len(codebooks), codebooks, (1,) * len(codebooks), coarse_rate_hz)

    @classmethod
    def repeated(cls, vq_strides: Sequence[int], codebook_size: int, coarse_rate_hz: float) -> "FrameLayout":
        """Frames of a SNAC codec at its finest token rate, see `repeat_streams`."""
        # Not simply 1: the finest codebook may cover several of the codec's frames, as with strides 8, 4, 2.
        finest = math.gcd(*vq_strides)
        periods = tuple(stride // finest for stride in vq_strides)
        rate = coarse_rate_hz * vq_strides[0] / finest
        return cls((codebook_size,) * len(periods), tuple(range(len(periods))), periods, rate)

    @property
    def num_streams(self) -> int:
        """Tokens per frame, K."""
        return len(self.vocab_sizes)

    @property
    def num_codebooks(self) -> int:
        """Codebooks of the codec."""
        return max(self.codebooks) + 1

    @property
    def alignment(self) -> int:
        """Windows start and end at multiples of this many frames, so that every stream begins with a new token."""
        return math.lcm(*self.periods)

    @property
    def tokens_per_second(self) -> float:
        """Scored tokens per second of audio, the same for every layout of the same codec."""
        return self.frames_per_second * sum(1 / period for period in self.periods)


def stack_coarse(codes: Sequence[Tokens], vq_strides: Sequence[int]) -> Tokens:
    """Hierarchical codes, codebook i (n * vq_strides[0] / vq_strides[i],), as coarse frames (n, K).

    Within a frame tokens stand in order of time, the coarser first where they begin together; for strides 4, 2, 1:
    c0, c1[0], c2[0], c2[1], c1[1], c2[2], c2[3].

    Raises:
        DataError: the codebooks do not cover the same time.
    """
    num_frames = len(codes[0])
    rows = []
    for i, (tokens, stride) in enumerate(zip(codes, vq_strides, strict=True)):
        if len(tokens) * stride != num_frames * vq_strides[0]:
            raise DataError(
                f"codebook {i} has {len(tokens)} tokens where {num_frames} coarse tokens need "
                f"{num_frames * vq_strides[0] // stride}; encode the audio again"
            )
        rows.append(np.asarray(tokens).reshape(num_frames, vq_strides[0] // stride))
    # Walk the tokens in order of time; each codebook hands out its own from left to right.
    starts = {i: 0 for i in range(len(rows))}
    columns = []
    for _, codebook in _coarse_order(vq_strides):
        columns.append(rows[codebook][:, starts[codebook]])
        starts[codebook] += 1
    return np.stack(columns, axis=1)


def unstack_coarse(frames: Tokens, vq_strides: Sequence[int]) -> list[Tokens]:
    """Inverse of `stack_coarse`: coarse frames (n, K) to codes per codebook."""
    order = [codebook for _, codebook in _coarse_order(vq_strides)]
    _check_width(frames, len(order))
    # Row by row, so the tokens of a codebook stay in order of time within a frame and from frame to frame.
    return [frames[:, np.array(order) == i].reshape(-1) for i in range(len(vq_strides))]


def repeat_streams(codes: Sequence[Tokens], vq_strides: Sequence[int]) -> Tokens:
    """Hierarchical codes as frames (n * vq_strides[0] / gcd(vq_strides), num_codebooks)."""
    finest = math.gcd(*vq_strides)
    columns = [np.repeat(tokens, stride // finest) for tokens, stride in zip(codes, vq_strides, strict=True)]
    if len({len(column) for column in columns}) != 1:
        raise DataError(f"codebooks of {[len(tokens) for tokens in codes]} tokens do not cover the same time")
    return np.stack(columns, axis=1)


def take_streams(frames: Tokens, vq_strides: Sequence[int]) -> list[Tokens]:
    """Inverse of `repeat_streams`: the first of every run of repeated tokens; later ones are not looked at."""
    _check_width(frames, len(vq_strides))
    finest = math.gcd(*vq_strides)
    if len(frames) * finest % vq_strides[0]:
        raise DataError(f"{len(frames)} frames are no whole number of coarse tokens; cut them to a multiple")
    return [frames[:: stride // finest, i] for i, stride in enumerate(vq_strides)]


def _coarse_order(vq_strides: Sequence[int]) -> list[tuple[int, int]]:
    """(start in finest frames, codebook) of the tokens of one coarse frame, in order of time."""
    # Equal starts sort by codebook. For snac_24khz this is the order of the seven tokens in Orpheus.
    return sorted((start, i) for i, stride in enumerate(vq_strides) for start in range(0, vq_strides[0], stride))


def _check_width(frames: Tokens, num_streams: int) -> None:
    if frames.ndim != 2 or frames.shape[1] != num_streams:
        raise DataError(f"frames of shape {frames.shape} are not (frames, {num_streams} streams) of this codec")
