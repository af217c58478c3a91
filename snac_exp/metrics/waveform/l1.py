"""Mean absolute difference of the samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def l1(reference: Tensor, estimate: Tensor, rate: int) -> float:
    """mean |reference - estimate| over samples (N,), full scale 1; 0 for equal signals."""
    from snac_exp.metrics.spectra import check_lengths

    check_lengths(reference, estimate)
    return (reference - estimate).abs().mean().item()


L1 = Metric("l1", "L1", "full scale", decimals=5, order=10, function=l1)
