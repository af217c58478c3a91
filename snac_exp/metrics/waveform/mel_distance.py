"""Multi-scale distance of log-mel spectrograms."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

_SCALES = ((128, 10), (256, 20), (512, 40), (1024, 80), (2048, 160))  # window in samples, mel bands


def mel_distance(reference: Tensor, estimate: Tensor, rate: int) -> float:
    """Multi-scale mel distance of two waveforms (N,): mean over scales of the L1 distance, in log10 units.

        mean_s mean_(t,m) |log10 max(M_s(reference), 1e-5) - log10 max(M_s(estimate), 1e-5)|

    Windows of 128 to 2048 samples (Hann, hop a quarter) with 10 to 160 Slaney mel bands up to half the rate; window and
    magnitudes are normalised so that a full-scale sine is about 1. A gain of 2 is 0.301. After the multi-scale mel loss
    of DAC (Kumar et al. 2023, "High-Fidelity Audio Compression with Improved RVQGAN"), which sums over scales of 32 to
    2048 samples instead. Compare values of one sampling rate only, since the windows are in samples. It is not the
    training term `log_mel`, so that tuning that term leaves the yardstick alone.
    """
    from snac_exp.metrics.spectra import check_lengths

    check_lengths(reference, estimate)
    distances = [
        (_log_mel(reference, rate, n_fft, n_mels) - _log_mel(estimate, rate, n_fft, n_mels)).abs().mean().item()
        for n_fft, n_mels in _SCALES
    ]
    return sum(distances) / len(distances)


def _log_mel(waveform: Tensor, rate: int, n_fft: int, n_mels: int) -> Tensor:
    """log10 mel magnitudes clamped at 1e-5: (N,) -> (n_mels, frames)."""
    from snac_exp.metrics.spectra import power_spectrogram

    # A Hann window sums up to n_fft / 2, and a sine has half of its amplitude at the positive frequency.
    magnitude = power_spectrogram(waveform, n_fft, n_fft // 4).sqrt() * (4 / n_fft)
    mel: Tensor = _mel_bank(rate, n_fft, n_mels).to(magnitude) @ magnitude
    return mel.clamp_min(1e-5).log10()


@lru_cache
def _mel_bank(rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangles of Slaney's scale, peak 1: (n_mels, n_fft // 2 + 1)."""
    from snac_exp.system.torchaudio import functional as F_audio

    bank: Tensor = F_audio.melscale_fbanks(n_fft // 2 + 1, 0.0, rate / 2, n_mels, rate, norm=None, mel_scale="slaney")
    return bank.T.contiguous()


MEL_DISTANCE = Metric(
    "mel_distance", "mel distance", "log10", decimals=4, order=40, function=mel_distance, headline=True
)
