"""Kernels of the second half of a residual unit: Snake, 1x1 convolution, and the sum with the unit's input.

y = x + W z + b with z = m + r sin(am)^2; m is the unit's middle. A program has all channels of a stretch of time, so
that every sample of m is activated once, and what the library would write between the layers stays in registers.
Products are of the narrow type with float32 sums.

Signals are (items, CHANNELS, length), contiguous. Stretch s is stretch s % num_tiles of item s // num_tiles.
"""

import triton
import triton.language as tl

from snac_exp.codec.fast.cuda.triton_kernels import snake, snake_slopes


@triton.jit
def snake_pointwise_forward(
    middle_ptr, x_ptr, alpha_ptr, weight_ptr, bias_ptr, y_ptr, length, num_tiles,
    CHANNELS: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """y; CHUNK channels of the middle at a time."""
    stretch = tl.program_id(0)
    item = (stretch // num_tiles).to(tl.int64)
    t = stretch % num_tiles * TILE + tl.arange(0, TILE)
    inside = (t < length)[None, :]
    out = tl.arange(0, CHANNELS)
    total = tl.zeros((CHANNELS, TILE), tl.float32)
    for first in tl.range(0, CHANNELS, CHUNK):
        channel = first + tl.arange(0, CHUNK)
        at = (item * CHANNELS + channel)[:, None] * length + t[None, :]
        middle = tl.load(middle_ptr + at, mask=inside, other=0.0).to(tl.float32)
        inner = snake(middle, tl.load(alpha_ptr + channel).to(tl.float32)[:, None])
        weight = tl.load(weight_ptr + out[:, None] * CHANNELS + channel[None, :])
        total = tl.dot(weight, inner.to(weight.dtype), total)
    at = (item * CHANNELS + out)[:, None] * length + t[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    y = total + tl.load(bias_ptr + out).to(tl.float32)[:, None] + x
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def snake_pointwise_backward(
    grad_ptr, middle_ptr, alpha_ptr, weight_ptr, grad_middle_ptr, by_weight_ptr, by_vectors_ptr,
    length, num_tiles, num_stretches, CHANNELS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Gradient of the middle; each program's part of those of W, and of alpha and b together.

    A program takes every stretch whose number is its own plus a multiple of the number of programs.
    """
    program = tl.program_id(0)
    channel = tl.arange(0, CHANNELS)
    alpha = tl.load(alpha_ptr + channel).to(tl.float32)[:, None]
    transposed = tl.load(weight_ptr + channel[None, :] * CHANNELS + channel[:, None])
    by_weight = tl.zeros((CHANNELS, CHANNELS), tl.float32)
    by_alpha = tl.zeros((CHANNELS,), tl.float32)
    by_bias = tl.zeros((CHANNELS,), tl.float32)
    for stretch in tl.range(program, num_stretches, tl.num_programs(0)):
        item = (stretch // num_tiles).to(tl.int64)
        t = stretch % num_tiles * TILE + tl.arange(0, TILE)
        inside = (t < length)[None, :]
        at = (item * CHANNELS + channel)[:, None] * length + t[None, :]
        grad = tl.load(grad_ptr + at, mask=inside, other=0.0)
        middle = tl.load(middle_ptr + at, mask=inside, other=0.0).to(tl.float32)
        grad_inner = tl.dot(transposed, grad)
        slope, slope_alpha = snake_slopes(middle, alpha)
        tl.store(grad_middle_ptr + at, (grad_inner * slope).to(grad_middle_ptr.dtype.element_ty), mask=inside)
        by_alpha += tl.sum(grad_inner * slope_alpha, 1)
        by_bias += tl.sum(grad.to(tl.float32), 1)
        by_weight = tl.dot(grad, tl.trans(snake(middle, alpha).to(grad.dtype)), by_weight)
    at = channel[:, None] * CHANNELS + channel[None, :]
    tl.store(by_weight_ptr + program * CHANNELS * CHANNELS + at, by_weight)
    tl.store(by_vectors_ptr + program * 2 * CHANNELS + channel, by_alpha)
    tl.store(by_vectors_ptr + (program * 2 + 1) * CHANNELS + channel, by_bias)
