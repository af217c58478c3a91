"""Log-spectral distance per bin: of the whole band, and below 12 kHz."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

BAND_EDGE_HZ = 12_000.0
"""What 24 kHz can hold; above it lies the high band."""

_WINDOW_SECONDS = 2048 / 48_000  # 43 ms at every rate, so that bins are equally wide in Hz


def lsd(
    reference: Tensor, estimate: Tensor, rate: int, low_hz: float = 0.0, high_hz: float | None = None
) -> float | None:
    """Log-spectral distance of two waveforms (N,) between `low_hz` and `high_hz` (default: all), in dB.

    As `lsd_high.lsd_high`, but over single bins and always over all frames; the window is the power of two nearest to
    43 ms (2048 at 48 kHz, 1024 at 24 kHz), the hop a quarter of it. A gain of 2 is 6.02 dB wherever both are above the
    floor, 80 dB below the reference's peak. None for digital silence.
    """
    import torch

    from snac_exp.metrics.spectra import FLOOR_DB, check_lengths, power_spectrogram, rms_db

    check_lengths(reference, estimate)
    n_fft = 1 << round(math.log2(_WINDOW_SECONDS * rate))
    frequencies = torch.linspace(0, rate / 2, n_fft // 2 + 1, device=reference.device)
    inside = (frequencies >= low_hz) & (frequencies <= (rate / 2 if high_hz is None else high_hz))
    if not inside.any():
        raise ValueError(f"no bin lies between {low_hz} and {high_hz} Hz at {rate} Hz")
    power = power_spectrogram(reference, n_fft, n_fft // 4)
    # Of all bins, also those outside of the band: the floor is the same for every part of a spectrum.
    peak = power.max()
    if peak <= 0:
        return None
    estimate_power = power_spectrogram(estimate, n_fft, n_fft // 4)
    return rms_db(power[inside], estimate_power[inside], peak * 10 ** (-FLOOR_DB / 10)).mean().item()


def lsd_low(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """`lsd` of two waveforms (N,) below 12 kHz, in dB."""
    return lsd(reference, estimate, rate, 0.0, BAND_EDGE_HZ)


LSD = Metric("lsd_db", "LSD", "dB", decimals=2, order=60, function=lsd)
LSD_LOW = Metric("lsd_low_db", "LSD < 12 kHz", "dB", decimals=2, order=70, function=lsd_low, rates=(48_000,))
