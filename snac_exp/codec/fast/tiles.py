"""Stretches of time that fit a CPU's cache."""

from collections.abc import Iterator
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor

_TILE_ELEMENTS = 2**17  # channels times samples; a few such arrays of float32 fit a core's cache
_MIN_TILE = 512  # samples; shorter tiles would spend their time on what they share with their neighbours


def window(signal: Tensor, start: int, stop: int) -> Tensor:
    """Samples [start, stop) of (C, T), with zeros beyond its ends."""
    inside = signal[:, max(start, 0) : stop]
    before, after = max(-start, 0), max(stop - signal.shape[1], 0)
    return F.pad(inside, (before, after)) if before or after else inside


def tiles(signal: Tensor) -> Iterator[tuple[int, int]]:
    """Equal stretches [start, stop) of a signal (C, T) whose arrays fit the cache."""
    channels, length = signal.shape
    num = max(round(length / max(_TILE_ELEMENTS // channels, _MIN_TILE)), 1)
    # Rounded edges of equal stretches, so that no short tile is left at the end.
    edges = [length * i // num for i in range(num + 1)]
    return pairwise(edges)
