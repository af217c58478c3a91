"""Loops over rows of channels for training on a CPU, compiled by numba for the processor at hand when first called.

Written with the library's operations, a residual unit moves its signal through memory some seventy times, forward and
backward, and a sine costs a nanosecond. Here a row of a tile stays in the first cache from the first sine to the last
sum, and a polynomial gives both sines at once, a tenth of that. Matrix products stay the library's.

Arrays are float32 or float64, C-contiguous, of one type; samples beyond the ends of a signal count as zero. With
r = 1 / (a + 1e-9) a Snake and its slopes are

    y = x + r sin(ax)^2,  dy/dx = 1 + 2 a r sin(ax) cos(ax),  dy/da = 2 r x sin(ax) cos(ax) - r^2 sin(ax)^2.
"""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
import torch
from numba import prange, types
from numba.extending import overload

Array = np.ndarray[Any, Any]
LoopT = TypeVar("LoopT", bound=Callable[..., Any])

EPSILON = 1e-9  # upstream's guard against alpha = 0

_ANY_ORDER = {"contract", "reassoc", "nsz"}  # of sums; NaN and infinities stay what they are
_INVERSE_PI = np.float32(1 / np.pi)
_PI = tuple(np.float32(part) for part in (3.1415927, -8.742278e-08, -3.430247e-15))  # three parts, for fused products
# Minimax polynomials of sin(r) / r and cos(r) in r^2 for |r| <= pi / 2, to 4e-9: below the rounding of float32.
_SIN = tuple(np.float32(c) for c in (1.0, -0.16666667, 0.008333332, -0.000198409, 2.7525562e-06, -2.3889859e-08))
_COS = tuple(
    np.float32(c) for c in (1.0, -0.5, 0.041666667, -0.0013888889, 2.48015873e-05, -2.7557319e-07, 2.0876757e-09)
)
_LARGEST = np.float32(2.0)
_PRANGE_ALONE = {"prange": True} | dict.fromkeys(
    ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False
)
_MOST_THREADS = int(cast(Any, numba.config).NUMBA_NUM_THREADS)  # asking numba itself would start its threads


def _use_whole_vectors() -> None:
    """Let loops use all 512 bits of a vector where that costs no frequency: the step is a twentieth faster.

    LLVM's habit on Intel's processors is half of them. Set before anything is compiled; numba's cache on disk tells the
    code of the one kind from that of the other.
    """
    features, config = llvmlite.binding.get_host_cpu_features(), cast(Any, numba.config)
    # Half-precision vectors came with the generation that keeps its frequency; names of virtual machines say little.
    if features.get("avx512fp16") and config.CPU_FEATURES is None:
        config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


_use_whole_vectors()


@numba.njit
def angle_of(alpha: Any, x: Any) -> Any:
    """Their product, rounded as PyTorch rounds it: not fused with what follows."""
    return alpha * x


def sines(angle: Any) -> Any:
    """sin(angle)^2 and sin(angle) cos(angle), both of period pi."""
    return np.sin(angle) ** 2, np.sin(angle) * np.cos(angle)


@overload(sines, jit_options={"fastmath": {"contract", "nsz"}})
def _sines(angle: Any) -> Any:
    if angle != types.float32:
        return sines

    def of_float32(angle: Any) -> Any:
        # Subtract the nearest multiple of pi in three parts: one float32 of pi would lose the angle's last bits.
        turns = np.rint(angle * _INVERSE_PI)
        r = ((angle - turns * _PI[0]) - turns * _PI[1]) - turns * _PI[2]
        r = min(max(r, -_LARGEST), _LARGEST)  # beyond 10^7 a float32 knows no angle any more
        q = r * r
        sine = r * (_SIN[0] + q * (_SIN[1] + q * (_SIN[2] + q * (_SIN[3] + q * (_SIN[4] + q * _SIN[5])))))
        cosine = _COS[0] + q * (_COS[1] + q * (_COS[2] + q * (_COS[3] + q * (_COS[4] + q * (_COS[5] + q * _COS[6])))))
        return sine * sine, sine * cosine

    return of_float32


def in_machine_code(loop: LoopT, parallel: Any = False) -> LoopT:
    """A loop compiled when first called, and kept beside this file (or in the user's cache) for the next process."""
    made = numba.njit(nogil=True, cache=True, fastmath=_ANY_ORDER, error_model="numpy", parallel=parallel)(loop)
    return cast(LoopT, made)


def _renamed(loop: LoopT, ending: str) -> LoopT:
    """A copy under another name: numba's cache knows functions by name and line, not by how they are to be compiled."""
    copy = FunctionType(loop.__code__, loop.__globals__, loop.__name__ + ending)
    copy.__qualname__ = loop.__qualname__ + ending
    return cast(LoopT, copy)


def over_threads(loop: LoopT) -> LoopT:
    """A compiled loop whose outermost `prange` is shared by as many threads as PyTorch uses; one thread does a row."""
    serial, parallel = in_machine_code(loop), in_machine_code(_renamed(loop, "_in_parallel"), _PRANGE_ALONE)

    @functools.wraps(loop)
    def run(*arguments: Any) -> None:
        threads = torch.get_num_threads()
        if threads == 1:
            serial(*arguments)
            return
        numba.set_num_threads(min(threads, _MOST_THREADS))
        parallel(*arguments)
        if torch.get_num_threads() != threads:  # both may share one OpenMP, and numba's start sets its number
            torch.set_num_threads(threads)

    return cast(LoopT, run)


@in_machine_code
def _snake(row: Array, start: int, stop: int, alpha: Any, out: Array) -> None:
    """Snake of samples [start, stop) of a row; zeros beyond its ends."""
    reciprocal = row.dtype.type(1 / (alpha + EPSILON))
    # The convolution behind sees zeros beyond the signal, and the Snake of zero is zero.
    first, last = max(start, 0), min(stop, len(row))
    out[: first - start] = 0
    out[max(last - start, 0) :] = 0
    inside, result = row[first:last], out[first - start : last - start]
    for t in range(len(inside)):
        square, _ = sines(angle_of(alpha, inside[t]))
        result[t] = inside[t] + reciprocal * square


@in_machine_code
def _snake_gradient(row: Array, grad: Array, alpha: Any, out: Array, squares: Array, products: Array) -> None:
    """Gradient of the row (n,) from that of its Snake, into `out`; notes what `sines` gave."""
    twice = row.dtype.type(2 * alpha / (alpha + EPSILON))
    for t in range(len(row)):
        squares[t], products[t] = sines(angle_of(alpha, row[t]))
        out[t] = grad[t] + twice * grad[t] * products[t]


@in_machine_code
def _alpha_gradient(row: Array, grad: Array, alpha: Any, squares: Array, products: Array) -> Any:
    """Gradient of alpha over samples for which `_snake_gradient` noted the sines."""
    slope, square = row.dtype.type(0), row.dtype.type(0)
    for t in range(len(row)):
        slope += grad[t] * products[t] * row[t]
        square += grad[t] * squares[t]
    reciprocal = row.dtype.type(1 / (alpha + EPSILON))
    return (2 * slope - square * reciprocal) * reciprocal


@in_machine_code
def _sum(row: Array) -> Any:
    """Sum of a row; numba's own adds in another order where loops are parallel."""
    total = row.dtype.type(0)
    for t in range(len(row)):
        total += row[t]
    return total


@in_machine_code
def _correlate(row: Array, taps: Array, dilation: int, bias: Any, out: Array) -> None:
    """out[t] = bias + sum_k taps[k] row[t + k dilation] for the len(row) - (K - 1) dilation samples that exist."""
    num = len(row) - (len(taps) - 1) * dilation
    for t in range(num):
        out[t] = bias + taps[0] * row[t]
    for k in range(1, len(taps)):
        tap, shifted = taps[k], row[k * dilation : k * dilation + num]
        for t in range(num):
            out[t] += tap * shifted[t]


@in_machine_code
def _add_tap_gradients(row: Array, grad: Array, dilation: int, total: Array) -> None:
    """total[k] += sum_t grad[t] row[t + k dilation]."""
    for k in range(len(total)):
        shifted, found = row[k * dilation : k * dilation + len(grad)], row.dtype.type(0)
        for t in range(len(grad)):
            found += grad[t] * shifted[t]
        total[k] += found


@over_threads
def snake_rows(x: Array, alpha: Array, out: Array) -> None:
    """Snake of rows: x (R, T), alpha (R,) -> out (R, T)."""
    for r in prange(len(x)):
        _snake(x[r], 0, x.shape[1], alpha[r], out[r])


@over_threads
def snake_gradient_rows(x: Array, grad: Array, alpha: Array, grad_x: Array, grad_alpha: Array) -> None:
    """Gradients of rows: x, grad (R, T), alpha (R,) -> grad_x (R, T), grad_alpha (R,)."""
    for r in prange(len(x)):
        squares, products = np.empty_like(x[r]), np.empty_like(x[r])
        _snake_gradient(x[r], grad[r], alpha[r], grad_x[r], squares, products)
        grad_alpha[r] = _alpha_gradient(x[r], grad[r], alpha[r], squares, products)


@over_threads
def unit_inside(
    x: Array, start: int, stop: int, dilation: int, alpha_in: Array, alpha_out: Array, taps: Array, bias: Array,
    halo: int, middle: Array, inner: Array,
) -> None:  # fmt: skip
    """Of a residual unit on x (C, T), what goes into its 1x1 convolution at samples [start, stop): `inner` (C, n).

    `middle` (C, n + 2 halo) is the depthwise convolution's output, `halo` samples further on both sides.
    """
    reach = taps.shape[1] // 2 * dilation
    for c in prange(len(x)):
        wide = np.empty(stop - start + 2 * (halo + reach), x.dtype)
        _snake(x[c], start - halo - reach, stop + halo + reach, alpha_in[c], wide)
        _correlate(wide, taps[c], dilation, bias[c], middle[c])
        _snake(middle[c], halo, halo + stop - start, alpha_out[c], inner[c])


@over_threads
def unit_gradients(
    x: Array, start: int, stop: int, dilation: int, alpha_in: Array, taps: Array, alpha_out: Array,
    middle: Array, grad_inner: Array, grad_y: Array, grad_x: Array,
    grad_alpha_in: Array, grad_taps: Array, grad_bias: Array, grad_alpha_out: Array,
) -> None:  # fmt: skip
    """Gradients of samples [start, stop) of a residual unit's input, into `grad_x` (C, T); parameters' are added to.

    `grad_y` (C, T) is the gradient of the output. `middle` and `grad_inner`, the gradient of what goes into the 1x1
    convolution, are (C, n + 2 reach): a gradient comes from `reach` samples away on both sides.
    """
    num, reach = stop - start, taps.shape[1] // 2 * dilation
    for c in prange(len(x)):
        core = slice(reach, reach + num)
        grad_middle, convolved = np.empty_like(middle[c]), np.empty_like(middle[c])
        squares, products = np.empty_like(middle[c]), np.empty_like(middle[c])
        grad_convolved, result = np.empty(num, x.dtype), grad_x[c, start:stop]
        # From the output inwards: second Snake, depthwise convolution, first Snake, and the skip connection.
        _snake_gradient(middle[c], grad_inner[c], alpha_out[c], grad_middle, squares, products)
        grad_alpha_out[c] += _alpha_gradient(
            middle[c, core], grad_inner[c, core], alpha_out[c], squares[core], products[core]
        )
        # Parameters take their sums over the tile alone; the halo belongs to its neighbours.
        grad_bias[c] += _sum(grad_middle[core])
        _snake(x[c], start - reach, stop + reach, alpha_in[c], convolved)
        _add_tap_gradients(convolved, grad_middle[core], dilation, grad_taps[c])
        # The transpose of a correlation is the correlation with reversed taps; a copy, for contiguous reads.
        _correlate(grad_middle, taps[c, ::-1].copy(), dilation, x.dtype.type(0), grad_convolved)
        inside = x[c, start:stop]
        _snake_gradient(inside, grad_convolved, alpha_in[c], result, squares, products)
        grad_alpha_in[c] += _alpha_gradient(inside, grad_convolved, alpha_in[c], squares, products)
        result += grad_y[c, start:stop]


@over_threads
def mono_gradients(
    x: Array, start: int, stop: int, alpha: Array, taps: Array, grad: Array, grad_x: Array, grad_alpha: Array,
    grad_taps: Array,
) -> None:  # fmt: skip
    """Gradients of a Snake and a convolution to one channel: x (C, T), taps (C, K), grad (n + K - 1,) with its halo.

    Writes samples [start, stop) of `grad_x` (C, T) and adds to the gradients of the parameters.
    """
    num, reach = stop - start, taps.shape[1] // 2
    for c in prange(len(x)):
        activated, turned = np.empty_like(grad), np.empty(num, x.dtype)
        squares, products = np.empty_like(turned), np.empty_like(turned)
        _snake(x[c], start - reach, stop + reach, alpha[c], activated)
        _add_tap_gradients(activated, grad[reach : reach + num], 1, grad_taps[c])
        _correlate(grad, taps[c, ::-1].copy(), 1, x.dtype.type(0), turned)
        inside = x[c, start:stop]
        _snake_gradient(inside, turned, alpha[c], grad_x[c, start:stop], squares, products)
        grad_alpha[c] += _alpha_gradient(inside, turned, alpha[c], squares, products)
