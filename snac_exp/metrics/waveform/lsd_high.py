"""Log-spectral distance above 12 kHz that hiss cannot lower: over active frames, and over all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

_N_FFT, _HOP = 2048, 512  # samples at 48 kHz: 43 ms and 11 ms


@dataclass(frozen=True)
class HighBand:
    """Log-spectral distance above 12 kHz of one utterance, in dB.

    active_db: over the frames in which the reference has energy there; None if it has none in any frame.
    all_db: over all frames, so hiss between the words counts too; None for a reference of digital silence.
    active_fraction: of the frames, those that are active.
    """

    active_db: float | None
    all_db: float | None
    active_fraction: float


def lsd_high(reference: Tensor, estimate: Tensor) -> HighBand:
    """Log-spectral distance above 12 kHz of two waveforms (N,) at 48 kHz.

    Hann window 2048, hop 512; power averaged in 32 equal bands b from 12 to 24 kHz; both signals clamped at `floor`,
    80 dB below the reference's peak; per frame t the RMS over bands, then the mean over frames:

        d(t) = sqrt(mean_b (10 log10 max(R(t,b), floor) / max(E(t,b), floor))^2)    [dB]

    The peak is the largest power of any bin of the reference's whole spectrogram, low frequencies included. Like that
    the floor is a property of the speech, not of its high band: a speaker with a weak high band is not asked for detail
    that nobody hears, and what the estimate does cannot move it. Frames are active where a reference band exceeds the
    floor.
    """
    from snac_exp.metrics.spectra import FLOOR_DB, check_lengths, high_band_power, power_spectrogram, rms_db

    check_lengths(reference, estimate)
    power = power_spectrogram(reference, _N_FFT, _HOP)
    peak = power.max()
    if peak <= 0:
        return HighBand(None, None, 0.0)
    floor = peak * 10 ** (-FLOOR_DB / 10)
    bands = high_band_power(power)
    estimate_bands = high_band_power(power_spectrogram(estimate, _N_FFT, _HOP))
    distance = rms_db(bands, estimate_bands, floor)
    # By the reference alone: an estimate cannot choose the frames it is measured on.
    active = (bands > floor).any(dim=0)
    active_db = distance[active].mean().item() if active.any() else None
    return HighBand(active_db, distance.mean().item(), active.float().mean().item())


def lsd_high_active(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """`lsd_high` of two waveforms (N,) over the active frames, in dB; None where there is none."""
    return lsd_high(reference, estimate).active_db


def lsd_high_all(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """`lsd_high` of two waveforms (N,) over all frames, in dB; None for digital silence."""
    return lsd_high(reference, estimate).all_db


LSD_HIGH = Metric(
    "lsd_high_db", "LSD > 12 kHz", "dB", decimals=2, order=80, function=lsd_high_active, rates=(48_000,),
    high_band=True, headline=True,
)  # fmt: skip
LSD_HIGH_ALL = Metric(
    "lsd_high_all_db", "LSD > 12 kHz, all frames", "dB", decimals=2, order=90, function=lsd_high_all, rates=(48_000,),
    high_band=True,
)  # fmt: skip
