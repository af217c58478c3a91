"""Is a recording really wide-band? How high its energy reaches, how much lies above 12 kHz, and whether it is speech.

A sample rate of 48 kHz says nothing: files are upsampled, decoded from lossy formats, or hold dither above an old band
edge.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snac_exp.data.files.reading import audio_blocks, audio_info
from snac_exp.data.files.recording import Recording

HIGH_BAND_HZ = 12000.0  # half the rate of a 24 kHz codec: above it lies what a 48 kHz head adds
_N_FFT, _HOP = 2048, 512  # samples
_BAND_HZ = 500.0  # width of a band
_REACH_DB = -75.0  # a band counts as used where its loud frames come within this of the loudest band
_TINY = 1e-20  # keeps ratios and logarithms of digital silence finite


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What the spectrum of a file tells (Hann 2048/512, mono mix).

    cutoff_hz: upper edge of the highest 500 Hz band whose loud frames (95th percentile) lie within 75 dB of the loudest
    band's. hf_energy_ratio: energy above 12 kHz / all. hf_dynamics_db: 95th over 10th percentile of the frames' energy
    above 12 kHz; speech moves there by 20 dB and more, dither and hiss do not.
    """

    rate: int
    cutoff_hz: float
    hf_energy_ratio: float
    hf_dynamics_db: float


def measure_bandwidth(path: Path | Recording) -> Bandwidth:
    """Read a recording once, in blocks; DataError if it cannot be read."""
    return bandwidth_of(audio_blocks(path), audio_info(path).rate)


def bandwidth_of(blocks: Iterable[npt.NDArray[np.float32]], rate: int) -> Bandwidth:
    """Of a mono signal at `rate` Hz that comes in blocks (n,), one after the other."""
    frequencies = np.fft.rfftfreq(_N_FFT, 1 / rate)
    band_of = (frequencies // _BAND_HZ).astype(np.int64)
    bands = np.concatenate([_band_powers(frames, band_of) for frames in _frames(blocks)])
    edges = np.arange(bands.shape[1]) * _BAND_HZ
    # The last band may hold fewer bins than the others.
    per_bin = bands / np.bincount(band_of)
    loud = np.quantile(per_bin, 0.95, axis=0)
    used = np.flatnonzero(loud > loud.max(initial=0.0) * 10 ** (_REACH_DB / 10))
    high = bands[:, edges >= HIGH_BAND_HZ].sum(axis=1)
    dynamics = 10 * np.log10((np.quantile(high, 0.95) + _TINY) / (np.quantile(high, 0.10) + _TINY))
    return Bandwidth(
        rate=rate,
        cutoff_hz=float(edges[used[-1]] + _BAND_HZ) if len(used) else 0.0,
        hf_energy_ratio=float(high.sum() / max(bands.sum(), _TINY)),
        hf_dynamics_db=float(dynamics),
    )


def _frames(blocks: Iterable[npt.NDArray[np.float32]]) -> Iterator[npt.NDArray[np.float32]]:
    """Frames (n, 2048), hop 512, over the whole signal, some at a time; a short one is one frame, padded."""
    rest, seen = np.zeros(0, np.float32), False
    for block in blocks:
        signal = np.concatenate([rest, block])
        num = max((len(signal) - _N_FFT) // _HOP + 1, 0)
        if num:
            yield np.lib.stride_tricks.sliding_window_view(signal, _N_FFT)[: num * _HOP : _HOP]
            seen = True
        rest = signal[num * _HOP :]
    if not seen:
        yield np.pad(rest, (0, _N_FFT - len(rest)))[None]


def _band_powers(frames: npt.NDArray[np.float32], band_of: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Power of each band in each frame: (n, bands)."""
    # A periodic Hann window, as torch.hann_window makes it.
    power = np.abs(np.fft.rfft(frames * np.hanning(_N_FFT + 1)[:-1].astype(np.float32), axis=1)) ** 2
    firsts = np.searchsorted(band_of, np.arange(band_of[-1] + 1))
    # float64: the energy above an old band edge may be nine orders of magnitude below the rest.
    sums: npt.NDArray[np.float64] = np.add.reduceat(power.astype(np.float64), firsts, axis=1)
    return sums
