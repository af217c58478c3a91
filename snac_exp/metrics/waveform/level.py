"""How loud an estimate is beside its reference: of the whole band, and above 12 kHz."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

_N_FFT, _HOP = 2048, 512  # samples at 48 kHz: 43 ms and 11 ms, as of lsd_high


def level(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """20 log10 rms(estimate) / rms(reference) of two waveforms (N,), in dB: -6.02 at half the amplitude.

    An estimate more than 80 dB below counts as 80 dB below. None where the reference is silent.
    """
    from snac_exp.metrics.spectra import check_lengths, level_db

    check_lengths(reference, estimate)
    return level_db(*(signal.double().square().mean().item() for signal in (reference, estimate)))


def level_high(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """As `level`, of the power above 12 kHz of two waveforms (N,) at 48 kHz, over all frames of `lsd_high`.

    None where the reference has no band there above the floor of `lsd_high`, 80 dB below its peak.
    """
    from snac_exp.metrics.spectra import FLOOR_DB, check_lengths, high_band_power, level_db, power_spectrogram

    check_lengths(reference, estimate)
    power = power_spectrogram(reference, _N_FFT, _HOP)
    bands = high_band_power(power)
    if not (bands > power.max() * 10 ** (-FLOOR_DB / 10)).any():
        return None
    found = high_band_power(power_spectrogram(estimate, _N_FFT, _HOP))
    return level_db(bands.double().mean().item(), found.double().mean().item())


LEVEL = Metric("level_db", "level", "dB", better="closest_to_0", decimals=2, order=55, function=level)
LEVEL_HIGH = Metric(
    "level_high_db", "level > 12 kHz", "dB", better="closest_to_0", decimals=2, order=95, function=level_high,
    rates=(48_000,), high_band=True,
)  # fmt: skip
