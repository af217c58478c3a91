"""Kernels of noise blocks: y = x + n W x, where n is a number for each moment, the same for all channels.

A program has all channels of a stretch of time, so that the product, its scaling and the sum stay in registers.
Products are of the narrow type with float32 sums.

Signals are (items, CHANNELS, length), contiguous, the noise (items, length). Stretch s is stretch s % num_tiles of item
s // num_tiles.
"""

import triton
import triton.language as tl


@triton.jit
def noise_forward(
    x_ptr, noise_ptr, weight_ptr, y_ptr, length, num_tiles,
    CHANNELS: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """y; CHUNK channels of x at a time."""
    stretch = tl.program_id(0)
    item = (stretch // num_tiles).to(tl.int64)
    t = stretch % num_tiles * TILE + tl.arange(0, TILE)
    inside = t < length
    out = tl.arange(0, CHANNELS)
    total = tl.zeros((CHANNELS, TILE), tl.float32)
    for first in tl.range(0, CHANNELS, CHUNK):
        channel = first + tl.arange(0, CHUNK)
        at = (item * CHANNELS + channel)[:, None] * length + t[None, :]
        weight = tl.load(weight_ptr + out[:, None] * CHANNELS + channel[None, :])
        total = tl.dot(weight, tl.load(x_ptr + at, mask=inside[None, :], other=0.0), total)
    noise = tl.load(noise_ptr + item * length + t, mask=inside, other=0.0).to(tl.float32)
    at = (item * CHANNELS + out)[:, None] * length + t[None, :]
    x = tl.load(x_ptr + at, mask=inside[None, :], other=0.0).to(tl.float32)
    tl.store(y_ptr + at, (x + noise[None, :] * total).to(y_ptr.dtype.element_ty), mask=inside[None, :])


@triton.jit
def noise_backward(
    grad_ptr, x_ptr, noise_ptr, weight_ptr, grad_x_ptr, by_weight_ptr,
    length, num_tiles, num_stretches, CHANNELS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Gradient of x, and each program's part of that of W.

    A program takes every stretch whose number is its own plus a multiple of the number of programs.
    """
    program = tl.program_id(0)
    channel = tl.arange(0, CHANNELS)
    transposed = tl.load(weight_ptr + channel[None, :] * CHANNELS + channel[:, None])
    by_weight = tl.zeros((CHANNELS, CHANNELS), tl.float32)
    for stretch in tl.range(program, num_stretches, tl.num_programs(0)):
        item = (stretch // num_tiles).to(tl.int64)
        t = stretch % num_tiles * TILE + tl.arange(0, TILE)
        inside = t < length
        at = (item * CHANNELS + channel)[:, None] * length + t[None, :]
        grad = tl.load(grad_ptr + at, mask=inside[None, :], other=0.0).to(tl.float32)
        x = tl.load(x_ptr + at, mask=inside[None, :], other=0.0)
        noise = tl.load(noise_ptr + item * length + t, mask=inside, other=0.0).to(tl.float32)
        scaled = (noise[None, :] * grad).to(x.dtype)
        grad_x = grad + tl.dot(transposed, scaled)
        tl.store(grad_x_ptr + at, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside[None, :])
        by_weight = tl.dot(scaled, tl.trans(x), by_weight)
    at = channel[:, None] * CHANNELS + channel[None, :]
    tl.store(by_weight_ptr + program * CHANNELS * CHANNELS + at, by_weight)
