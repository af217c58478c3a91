"""Loops over a signal whose rows are moments and whose columns are channels, for decoding on a CPU piece by piece.

A few new moments of many channels are a few contiguous rows: they are put behind the rows of before without moving
those, and meet a matrix as they lie. Pieces of several signals lie one behind the other in one array (N, C). A loop is
told by `windows` (W, 3) where to work: W stretches, each the first row that it reads, the first that it writes, and how
many it writes. Arrays are float32 or float64, C-contiguous, of one type.
"""

from typing import Any

import numpy as np
from numba import prange

from snac_exp.codec.fast.kernels import Array, angle_of, in_machine_code, over_threads, sines

_TILE_ELEMENTS = 2**15  # rows times channels; what a stretch needs then lies in a core's second cache
_MIN_ROWS = 64  # shorter stretches would spend their time on what they share with their neighbours


def tiled(windows: Array, num_channels: int) -> Array:
    """`windows` (W, 3) cut into stretches that fit a cache, which threads can share."""
    most = max(_TILE_ELEMENTS // num_channels, _MIN_ROWS)
    if windows[:, 2].max(initial=0) <= most:
        return windows
    cut = [
        (read + start, written + start, min(most, num - start))
        for read, written, num in windows.tolist()
        for start in range(0, num, most)
    ]
    return np.array(cut, dtype=np.int64).reshape(-1, 3)


@in_machine_code
def _snake_row(row: Array, alpha: Array, reciprocal: Array, out: Array) -> None:
    """y = x + r sin(a x)^2 of one moment (C,)."""
    for c in range(len(row)):
        square, _ = sines(angle_of(alpha[c], row[c]))
        out[c] = row[c] + reciprocal[c] * square


@in_machine_code
def _add_scaled(row: Array, scale: Array, out: Array) -> None:
    """out += scale * row, all (C,)."""
    for c in range(len(row)):
        out[c] += scale[c] * row[c]


@in_machine_code
def _convolve(rows: Array, first: int, dilation: int, taps: Array, bias: Array, out: Array) -> None:
    """out = bias + sum over k of taps[k] * rows[first + k dilation]; taps (K, C), bias and out (C,)."""
    if len(taps) == 7:
        # SNAC's own number, written out: the sum stays in a register.
        x0, x1, x2, x3 = rows[first], rows[first + dilation], rows[first + 2 * dilation], rows[first + 3 * dilation]
        x4, x5, x6 = rows[first + 4 * dilation], rows[first + 5 * dilation], rows[first + 6 * dilation]
        w0, w1, w2, w3, w4, w5, w6 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6]
        for c in range(len(out)):
            early = bias[c] + w0[c] * x0[c] + w1[c] * x1[c] + w2[c] * x2[c] + w3[c] * x3[c]
            out[c] = early + w4[c] * x4[c] + w5[c] * x5[c] + w6[c] * x6[c]
        return
    out[:] = bias
    for k in range(len(taps)):
        _add_scaled(rows[first + k * dilation], taps[k], out)


@in_machine_code
def _dot(one: Array, other: Array) -> Any:
    """Sum of products of two rows."""
    total = one.dtype.type(0)
    for i in range(len(one)):
        total += one[i] * other[i]
    return total


@over_threads
def unit_in_time(
    x: Array, windows: Array, dilation: int, alpha_in: Array, reciprocal_in: Array, taps: Array, bias: Array,
    alpha_out: Array, reciprocal_out: Array, bias_out: Array, inner: Array, skip: Array,
) -> None:  # fmt: skip
    """Of a residual unit on x (N, C), what goes into its 1x1 convolution, `inner`, and what its product is added to,
    `skip` (M, C): the unit's input plus the outer bias. `taps` (K, C); alphas, their reciprocals and biases (C,).

    A row comes from K rows of x, `dilation` apart, from the first that its window reads on.
    """
    reach = (len(taps) - 1) * dilation
    for w in prange(len(windows)):
        read, written, num = windows[w]
        activated, convolved = np.empty((num + reach, x.shape[1]), x.dtype), np.empty(x.shape[1], x.dtype)
        for t in range(num + reach):
            _snake_row(x[read + t], alpha_in, reciprocal_in, activated[t])
        for t in range(num):
            _convolve(activated, t, dilation, taps, bias, convolved)
            _snake_row(convolved, alpha_out, reciprocal_out, inner[written + t])
            middle, sums = x[read + t + reach // 2], skip[written + t]
            for c in range(len(middle)):
                sums[c] = middle[c] + bias_out[c]


@over_threads
def add_noise(x: Array, noise: Array, product: Array) -> None:
    """x (N, C) + noise (N,) * product (N, C), in place of the product."""
    for t in prange(len(x)):
        row, out, factor = x[t], product[t], noise[t]
        for c in range(len(row)):
            out[c] = row[c] + factor * out[c]


@over_threads
def snake_pairs(x: Array, windows: Array, alpha: Array, reciprocal: Array, out: Array) -> None:
    """Of x (N, C) the Snake of every moment and of the one before it: out (M, 2 C), the earlier one first."""
    num_channels = x.shape[1]
    for w in prange(len(windows)):
        read, written, num = windows[w]
        for t in range(num):
            _snake_row(x[read + t + 1], alpha, reciprocal, out[written + t, num_channels:])
            if t == 0:
                _snake_row(x[read], alpha, reciprocal, out[written, :num_channels])
            else:
                out[written + t, :num_channels] = out[written + t - 1, num_channels:]


@over_threads
def snake_to_one(
    x: Array, windows: Array, alpha: Array, reciprocal: Array, taps: Array, bias: Array, out: Array
) -> None:
    """A Snake and a convolution to one channel: x (N, C), taps (K, C), bias (1,) -> out (M, 1)."""
    flat_taps, reach = taps.reshape(-1), len(taps) - 1
    for w in prange(len(windows)):
        read, written, num = windows[w]
        activated = np.empty((num + reach, x.shape[1]), x.dtype)
        for t in range(num + reach):
            _snake_row(x[read + t], alpha, reciprocal, activated[t])
        # K rows of C channels lie behind each other, as the taps do.
        flat = activated.reshape(-1)
        for t in range(num):
            first = t * x.shape[1]
            out[written + t, 0] = bias[0] + _dot(flat[first : first + len(flat_taps)], flat_taps)
