"""Kernels of output layers: Snake, then a "same" convolution of all channels to one.

y[t] = b + sum over c, k of W[c, k] z[c, t + k - r] with z = x + (1 / (a + 1e-9)) sin(ax)^2. Forward the channels are
multiplied away first, one row for each tap, and the rows shifted and added; backward the output's gradient is read
shifted, a row for each tap. So neither z nor its gradient is ever written. Products are of the narrow type with float32
sums; ROWS is the number of taps filled up to what a product takes.

x is (items, CHANNELS, length), contiguous, y (items, length). Stretch s is stretch s % num_tiles of item
s // num_tiles.
"""

import triton
import triton.language as tl

from snac_exp.codec.fast.cuda.triton_kernels import snake, snake_slopes


@triton.jit
def snake_mono_forward(
    x_ptr, alpha_ptr, weight_ptr, bias_ptr, y_ptr, length, num_tiles,
    CHANNELS: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, HALO: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """y; of WIDE samples HALO on both sides belong to the neighbours."""
    stretch = tl.program_id(0)
    item = (stretch // num_tiles).to(tl.int64)
    column = tl.arange(0, WIDE)
    t = stretch % num_tiles * (WIDE - 2 * HALO) - HALO + column
    inside = (t >= 0) & (t < length)
    channel, tap = tl.arange(0, CHANNELS), tl.arange(0, ROWS)
    at = (item * CHANNELS + channel)[:, None] * length + t[None, :]
    x = tl.load(x_ptr + at, mask=inside[None, :], other=0.0)
    # The Snake of zero is zero, as is the padding.
    inner = snake(x.to(tl.float32), tl.load(alpha_ptr + channel).to(tl.float32)[:, None]).to(x.dtype)
    weight = tl.load(weight_ptr + channel[None, :] * TAPS + tap[:, None], mask=(tap < TAPS)[:, None], other=0.0)
    by_tap = tl.dot(weight, inner)
    shifted = tl.minimum(tl.maximum(column[None, :] + tap[:, None] - TAPS // 2, 0), WIDE - 1)
    y = tl.sum(tl.gather(by_tap, shifted, 1), 0) + tl.load(bias_ptr).to(tl.float32)
    own = inside & (column >= HALO) & (column < WIDE - HALO)
    tl.store(y_ptr + item * length + t, y.to(y_ptr.dtype.element_ty), mask=own)


@triton.jit
def snake_mono_backward(
    grad_ptr, x_ptr, alpha_ptr, weight_ptr, grad_x_ptr, by_weight_ptr, by_alpha_ptr, length, num_tiles, num_stretches,
    CHANNELS: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Gradient of x; each program's part of those of W, as (ROWS, CHANNELS), and of alpha.

    A program takes every stretch whose number is its own plus a multiple of the number of programs.
    """
    program = tl.program_id(0)
    channel, tap = tl.arange(0, CHANNELS), tl.arange(0, ROWS)
    alpha = tl.load(alpha_ptr + channel).to(tl.float32)[:, None]
    weight = tl.load(weight_ptr + channel[:, None] * TAPS + tap[None, :], mask=(tap < TAPS)[None, :], other=0.0)
    by_weight = tl.zeros((ROWS, CHANNELS), tl.float32)
    by_alpha = tl.zeros((CHANNELS,), tl.float32)
    for stretch in tl.range(program, num_stretches, tl.num_programs(0)):
        item = (stretch // num_tiles).to(tl.int64)
        t = stretch % num_tiles * TILE + tl.arange(0, TILE)
        # What tap k of an output around made of sample t.
        out = t[None, :] - tap[:, None] + TAPS // 2
        there = (out >= 0) & (out < length) & (tap < TAPS)[:, None]
        grads = tl.load(grad_ptr + item * length + out, mask=there, other=0.0)
        at = (item * CHANNELS + channel)[:, None] * length + t[None, :]
        inside = (t < length)[None, :]
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        grad_inner = tl.dot(weight, grads)
        slope, slope_alpha = snake_slopes(x, alpha)
        tl.store(grad_x_ptr + at, (grad_inner * slope).to(grad_x_ptr.dtype.element_ty), mask=inside)
        # Beyond the end x is zero, and so are its Snake and its slope by alpha.
        by_alpha += tl.sum(grad_inner * slope_alpha, 1)
        by_weight = tl.dot(grads, tl.trans(snake(x, alpha).to(grads.dtype)), by_weight)
    at = tap[:, None] * CHANNELS + channel[None, :]
    tl.store(by_weight_ptr + program * CHANNELS * ROWS + at, by_weight)
    tl.store(by_alpha_ptr + program * CHANNELS + channel, by_alpha)
