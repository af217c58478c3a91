"""The adversary of a recipe: what a file of conf/adversary/ says. No torch here."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class AdversaryWeights:
    """Weights, within a head, of the two terms that train the codec against its discriminators."""

    adversarial: float = 1.0
    feature_matching: float = 2.0


@dataclass(frozen=True)
class Adversary:
    """Discriminators trained against the codec, with an optimizer of their own; the defaults are DAC's.

    heads: which heads have discriminators, null = every trained head. start_step: the codec trains alone before it.
    grad_clip: of the discriminators' gradients. periods: samples, one discriminator each. fft_sizes: STFT windows in
    samples, one discriminator each. band_edges: where a spectrum is cut into bands, as shares of half the rate.
    period_channels: width of each layer of a period discriminator. band_channels: width within a band.
    """

    kind: Literal["none", "dac"] = "none"
    heads: list[str] | None = None
    loss: Literal["hinge", "lsgan"] = "lsgan"
    weights: AdversaryWeights = AdversaryWeights()
    start_step: int = 0
    lr: float = 1e-4  # of the discriminators' own AdamW
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    grad_clip: float = 10.0
    periods: list[int] = field(default_factory=lambda: [2, 3, 5, 7, 11])
    fft_sizes: list[int] = field(default_factory=lambda: [2048, 1024, 512])
    band_edges: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
    period_channels: list[int] = field(default_factory=lambda: [32, 128, 512, 1024, 1024])
    band_channels: int = 32
