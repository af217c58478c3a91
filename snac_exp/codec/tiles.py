"""Stretches of time that fit a CPU's cache, and what the backward pass of a Snake needs over one of them."""

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from snac_exp.codec.activations import EPSILON

_TILE_ELEMENTS = 2**17  # channels times samples; a few such arrays of float32 fit a core's cache
_MIN_TILE = 512  # samples; shorter tiles would spend their time on what they share with their neighbours


class SnakeTile:
    """What the backward pass needs of a Snake over a tile (C, n): sin(ax)^2 and sin(ax) cos(ax), from one tangent.

    With t = tan(ax) and q = 1 / (1 + t^2) they are t^2 q and t q; float tangents stay far below the root of the largest
    float, so t^2 is finite.
    """

    def __init__(self, x: Tensor, alpha: Tensor) -> None:
        self.x, self.alpha, self.reciprocal = x, alpha, (alpha + EPSILON).reciprocal()
        tangent = (alpha * x).tan_()
        square = tangent * tangent
        factor = (square + 1).reciprocal_()
        self.sin_square, self.sin_cos = square.mul_(factor), tangent.mul_(factor)

    def value(self) -> Tensor:
        """The activation itself."""
        return torch.addcmul(self.x, self.sin_square, self.reciprocal)

    def cut(self, samples: slice) -> None:
        """Go on with these samples of the tile."""
        self.x, self.sin_square, self.sin_cos = (
            tensor[:, samples] for tensor in (self.x, self.sin_square, self.sin_cos)
        )

    def gradient(self, grad: Tensor, core: slice, total: Tensor) -> Tensor:
        """Gradient of x from that of the value; adds alpha's, over the samples of the core, to `total` (C, 1)."""
        turned = grad * self.sin_cos
        slope = 2 * (turned[:, core] * self.x[:, core]).sum(1, keepdim=True)
        square = (grad[:, core] * self.sin_square[:, core]).sum(1, keepdim=True)
        total.add_((slope - square * self.reciprocal) * self.reciprocal)
        return grad.addcmul_(turned, 2 * self.alpha * self.reciprocal)


def window(signal: Tensor, start: int, stop: int) -> Tensor:
    """Samples [start, stop) of (C, T), with zeros beyond its ends."""
    inside = signal[:, max(start, 0) : stop]
    before, after = max(-start, 0), max(stop - signal.shape[1], 0)
    return F.pad(inside, (before, after)) if before or after else inside


def tiles(signal: Tensor) -> Iterator[tuple[int, int]]:
    """Equal stretches of time whose arrays fit the cache."""
    channels, length = signal.shape
    num = max(round(length / max(_TILE_ELEMENTS // channels, _MIN_TILE)), 1)
    edges = [length * i // num for i in range(num + 1)]
    return pairwise(edges)
