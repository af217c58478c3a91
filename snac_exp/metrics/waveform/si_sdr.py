"""Scale-invariant signal-to-distortion ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def si_sdr(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """SI-SDR of two waveforms (N,) in dB, means removed (Le Roux et al. 2019, "SDR - Half-baked or Well Done?").

    With s the reference and a = <e, s> / <s, s> for the estimate e: 10 log10 |a s|^2 / |a s - e|^2. None for silence.
    """
    import torch

    from snac_exp.metrics.spectra import check_lengths, varies

    check_lengths(reference, estimate)
    # The guard below would make 0 dB of silence against silence.
    if not (varies(reference) and varies(estimate)):
        return None
    target, found = (signal.float() - signal.float().mean() for signal in (reference, estimate))
    guard = torch.finfo(torch.float32).eps  # a perfect estimate has no distortion to divide by
    scaled = ((found * target).sum() + guard) / (target.square().sum() + guard) * target
    ratio = (scaled.square().sum() + guard) / ((scaled - found).square().sum() + guard)
    return 10 * ratio.log10().item()


SI_SDR = Metric("si_sdr_db", "SI-SDR", "dB", better="higher", decimals=2, order=50, function=si_sdr)
