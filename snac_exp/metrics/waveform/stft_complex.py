"""Distance of complex STFTs, in the sizes of the recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def stft_complex(reference: Tensor, estimate: Tensor, rate: int, n_ffts: Sequence[int] | None = None) -> float | None:
    """Mean over sizes n of mean |Re(X_n - Y_n)| + mean |Im(X_n - Y_n)|, X and Y spectra of reference and estimate (N,).

    A wrong phase counts as much as a wrong magnitude, so it prefers silence to noise of the right magnitude. Window,
    hop, sizes and None as in `stft_magnitude`.
    """
    from snac_exp.metrics.spectra import check_lengths, default_n_ffts, rectangular_stft

    check_lengths(reference, estimate)
    sizes = n_ffts or default_n_ffts(rate)
    # torch.stft cannot mirror a signal of less than half a frame.
    if reference.numel() <= max(sizes) // 2:
        return None
    differences = [rectangular_stft(reference, n_fft) - rectangular_stft(estimate, n_fft) for n_fft in sizes]
    return sum((it.real.abs().mean() + it.imag.abs().mean()).item() for it in differences) / len(sizes)


STFT_COMPLEX = Metric("stft_complex", "STFT complex", decimals=4, order=30, function=stft_complex)
