"""Distance of samples."""

from torch import Tensor

from snac_exp.losses.pair import SignalPair


def l1(pair: SignalPair) -> Tensor:
    """Mean absolute difference of samples: mean |p - y|; signals (B, 1, N) -> scalar."""
    return pair.sample_mean((pair.prediction - pair.target).abs())
