"""Distance of STFT magnitudes, in the sizes of the recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def stft_magnitude(reference: Tensor, estimate: Tensor, rate: int, n_ffts: Sequence[int] | None = None) -> float | None:
    """Mean over sizes n of mean ||X_n| - |Y_n||, X and Y the spectra of reference and estimate (N,); blind to phase.

    Rectangular window, hop n / 4, not normalised: as the recipes train with, whatever a recipe sets, so that recipes
    can be compared. `n_ffts` in samples; default: `default_n_ffts(rate)`. None for less than half a frame.
    """
    from snac_exp.metrics.spectra import check_lengths, default_n_ffts, rectangular_stft

    check_lengths(reference, estimate)
    sizes = n_ffts or default_n_ffts(rate)
    # torch.stft cannot mirror a signal of less than half a frame.
    if reference.numel() <= max(sizes) // 2:
        return None
    spectra = [(rectangular_stft(reference, n_fft), rectangular_stft(estimate, n_fft)) for n_fft in sizes]
    return sum((ours.abs() - theirs.abs()).abs().mean().item() for ours, theirs in spectra) / len(sizes)


STFT_MAGNITUDE = Metric(
    "stft_magnitude", "STFT magnitude", decimals=4, order=20, function=stft_magnitude, headline=True
)
