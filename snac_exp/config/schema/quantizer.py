"""How a codec that is trained here begins, and how its codebooks learn."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Start:
    """What is made of data before the codebooks learn.

    standardise_batches: training batches on which every layer of random weights gets its scale; 0 = as drawn.
    autoencoder_steps: optimiser steps without codebooks, in which noise stands for their rounding. autoencoder_noise:
    its standard deviation relative to what is rounded. kmeans_batches: training batches whose latents the codebooks
    begin at, by k-means, once these steps are done; 0 = codebooks stay as they are.
    """

    standardise_batches: int = 0
    autoencoder_steps: int = 0
    autoencoder_noise: float = 0.3
    kmeans_batches: int = 0


@dataclass(frozen=True)
class Quantizer:
    """How codebooks learn.

    codebooks: by the gradient of `loss.codebook.codebook`, or as moving averages of what chose their entries. decay: of
    the averages and of the counts of choices, per step. restart_below: entries chosen less than this share of the mean
    begin anew at a vector of the batch; 0 = never. unit_projections: in training projections have the length
    sqrt(codebook_dim), since codes are chosen by direction alone.
    """

    codebooks: Literal["gradient", "average"] = "gradient"
    decay: float = 0.98
    restart_below: float = 0.0
    unit_projections: bool = False
