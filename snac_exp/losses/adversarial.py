"""Adversarial losses: what discriminators minimise, and what the codec minimises against them.

D_i(x) is the score map of discriminator i, F_ij(x) the output of its layer j; y is a recording, p its prediction.
Means are over all elements of a map, sums over all discriminators, as in the published DAC recipe (arXiv:2306.06546).
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from snac_exp.losses.discriminators import Features

Scores = Sequence[Tensor]


def hinge_discriminator(real: Scores, fake: Scores) -> Tensor:
    """sum_i mean max(0, 1 - D_i(y)) + mean max(0, 1 + D_i(p)) (Lim and Ye 2017, arXiv:1705.02894)."""
    return _sum((1 - y).relu().mean() + (1 + p).relu().mean() for y, p in zip(real, fake, strict=True))


def hinge_generator(fake: Scores) -> Tensor:
    """sum_i -mean D_i(p); has no lower bound."""
    return _sum(-p.mean() for p in fake)


def lsgan_discriminator(real: Scores, fake: Scores) -> Tensor:
    """sum_i mean (1 - D_i(y))^2 + mean D_i(p)^2 (Mao et al. 2017, arXiv:1611.04076)."""
    return _sum((1 - y).square().mean() + p.square().mean() for y, p in zip(real, fake, strict=True))


def lsgan_generator(fake: Scores) -> Tensor:
    """sum_i mean (1 - D_i(p))^2."""
    return _sum((1 - p).square().mean() for p in fake)


def feature_matching(real: Sequence[Features], fake: Sequence[Features]) -> Tensor:
    """sum_i sum_j mean |F_ij(p) - F_ij(y)| over all layers but the score; no gradient reaches the real side.

    (Larsen et al. 2016, arXiv:1512.09300; for waveforms Kumar et al. 2019, arXiv:1910.06711.)
    """
    return _sum(
        l1_loss(p, y.detach())  # y has a graph to the discriminators
        for of_real, of_fake in zip(real, fake, strict=True)
        for y, p in zip(of_real[:-1], of_fake[:-1], strict=True)
    )


GAN_LOSSES: dict[str, tuple[Callable[[Scores, Scores], Tensor], Callable[[Scores], Tensor]]] = {
    "hinge": (hinge_discriminator, hinge_generator),
    "lsgan": (lsgan_discriminator, lsgan_generator),
}
"""Choices of `adversary.loss`: what the discriminators minimise, and what the codec does."""


def scores_of(features: Sequence[Features]) -> list[Tensor]:
    """The score map (B, 1, height, width) of every discriminator, the output of its last layer."""
    return [layers[-1] for layers in features]


def _sum(losses: Iterable[Tensor]) -> Tensor:
    """The sum, a scalar, of scalar losses."""
    return torch.stack(list(losses)).sum()
