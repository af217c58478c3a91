"""Resampling of signals with torchaudio's filters, each output sample summed by itself, tap by tap.

torchaudio convolves with the filters of all phases at once, although at most ratios of rates nearly all of their taps
are zero, and a convolution's sums depend on where it begins, how long it is and on the threads that share it. Here a
sample is one sum in one order, of its own taps: a slice has the bits of the whole, in a tenth of the time.
"""

import functools
import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from snac_exp.codec.geometry import Lengths
from snac_exp.data.files.decoding import Float32Array
from snac_exp.system.torchaudio import transforms

Int64Array = npt.NDArray[np.int64]

LEAST_TAP = 1e-20
"""Of the largest: what lies below is what rounding leaves of a window's zero."""

_TILE_SAMPLES = 4096  # of the source, or of the output where that is longer: both stay in the first cache


@dataclass(frozen=True)
class FilterBank:
    """Taps (target_step, K) from one rate to another, both divided by their greatest common divisor.

    Output sample b * target_step + p is the sum over k of taps[p, k] * source[b * source_step - width + firsts[p] + k].
    """

    taps: Float32Array
    firsts: Int64Array
    width: int
    source_step: int
    target_step: int

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """Source samples [first, last) that output samples [start, stop) depend on; some may not be there."""
        first = start // self.target_step * self.source_step - self.width
        return first, ((stop - 1) // self.target_step + 1) * self.source_step + self.width


@functools.cache
def filter_bank(source_rate: int, rate: int) -> FilterBank:
    """The filters that torchaudio makes by default, in float64, rounded to float32; without the taps that are zero."""
    gcd = math.gcd(source_rate, rate)
    made = transforms.Resample(source_rate, rate)
    whole = made.kernel[:, 0].numpy()
    there = np.abs(whole) > LEAST_TAP * np.abs(whole).max()
    firsts = there.argmax(axis=1)
    num_taps = int((there.shape[1] - there[:, ::-1].argmax(axis=1) - firsts).max())
    firsts = np.minimum(firsts, whole.shape[1] - num_taps)
    taps = np.stack([row[first : first + num_taps] for row, first in zip(whole, firsts, strict=True)])
    return FilterBank(taps, firsts.astype(np.int64), int(made.width), source_rate // gcd, rate // gcd)


def resampled_length(num_samples: Lengths, source_rate: Lengths, rate: int) -> Lengths:
    """Samples at `rate` of a file of `num_samples` at `source_rate`: ceil(num_samples * rate / source_rate).

    torchaudio's own count is the same rule rounded in float32, one sample less for some files over two minutes.
    """
    return -(-num_samples * rate // source_rate)


def resample(samples: Float32Array, source_rate: int, rate: int) -> Float32Array:
    """Resample a whole signal (num,) to (ceil(num * rate / source_rate),), by torchaudio's default filters."""
    num = resampled_length(len(samples), source_rate, rate)
    if source_rate == rate or len(samples) == 0:
        return samples[:num]
    return resampled_part(samples, 0, filter_bank(source_rate, rate), 0, num)


def resampled_part(source: Float32Array, begin: int, bank: FilterBank, start: int, stop: int) -> Float32Array:
    """Samples [start, stop) of the resampled signal, of which `source` (n,) holds the part from sample `begin` on.

    Samples before and behind it count as zero.
    """
    out = np.empty(stop - start, dtype=np.float32)
    contiguous = np.ascontiguousarray(source, dtype=np.float32)
    _convolve(contiguous, begin, bank.taps, bank.firsts, bank.width, bank.source_step, start, out)
    return out


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _convolve(
    source: Float32Array, begin: int, taps: Float32Array, firsts: Int64Array, width: int, step: int,
    start: int, out: Float32Array,
) -> None:  # fmt: skip
    """Tile by tile: the source is dealt out into `step` rows, so that a tap of a phase is a product of two rows."""
    num_phases, num_taps = taps.shape
    most = max(_TILE_SAMPLES // max(step, num_phases), 128)
    reach = (firsts.max() + num_taps - 1) // step + 1
    rows = np.empty((step, most + reach), np.float32)
    sums = np.empty(most, np.float32)
    last_block = (start + len(out) - 1) // num_phases
    for block in range(start // num_phases, last_block + 1, most):
        num = min(most, last_block + 1 - block)
        _deal(source, block * step - width - begin, num + reach, rows)
        for phase in range(num_phases):
            total = sums[:num]
            total[:] = 0
            for k in range(num_taps):
                place, tap = firsts[phase] + k, taps[phase, k]
                shifted = rows[place % step, place // step : place // step + num]
                for b in range(num):
                    total[b] += tap * shifted[b]
            # The first and the last block may lie in the slice with some of their phases only.
            place = block * num_phases + phase - start
            skipped = 1 if place < 0 else 0
            for b in range(skipped, num):
                if place + b * num_phases < len(out):
                    out[place + b * num_phases] = total[b]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _deal(source: Float32Array, begin: int, num: int, rows: Float32Array) -> None:
    """rows[r, b] = source[begin + b * step + r] for b < num, zero outside of the source."""
    step = len(rows)
    inside = begin >= 0 and begin + num * step <= len(source)
    for r in range(step):
        if inside:
            for b in range(num):
                rows[r, b] = source[begin + b * step + r]
        else:
            for b in range(num):
                place = begin + b * step + r
                rows[r, b] = source[place] if 0 <= place < len(source) else 0
