"""Depthwise convolutions, forward and backward on a CPU: the library's kernels against ours, in one process.

    python benchmarks/depthwise.py

Alternating pairs, the median ratio; shapes are those of the demo codec's and snac_24khz's last blocks (batch 8, 1 s).
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from snac_exp.codec.fast.depthwise import DepthwiseFunction

SHAPES = ((10, 24_000), (10, 48_000), (64, 24_000))  # channels, samples
DILATIONS = (1, 3, 9)
PAIRS = 5


def seconds(function: Callable[[], Tensor], gradient: Tensor) -> float:
    """Wall time of one forward and backward pass."""
    started = time.perf_counter()
    function().backward(gradient)
    return time.perf_counter() - started


def ratio(channels: int, length: int, dilation: int) -> float:
    """Median of library time over our time."""
    x = torch.randn(8, channels, length, requires_grad=True)
    weight = torch.randn(channels, 1, 7, requires_grad=True)
    bias = torch.zeros(channels, requires_grad=True)
    gradient = torch.randn(8, channels, length)

    def library() -> Tensor:
        return F.conv1d(x, weight, bias, padding=3 * dilation, dilation=dilation, groups=channels)

    def ours() -> Tensor:
        result: Tensor = DepthwiseFunction.apply(x, weight, bias, dilation)
        return result

    seconds(library, gradient), seconds(ours, gradient)
    return statistics.median(seconds(library, gradient) / seconds(ours, gradient) for _ in range(PAIRS))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for channels, length in SHAPES:
        for dilation in DILATIONS:
            measured = ratio(channels, length, dilation)
            print(f"{channels:3} channels, {length} samples, dilation {dilation}: {measured:.1f}x")
