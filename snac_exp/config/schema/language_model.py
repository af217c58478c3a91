"""Sizes of a token model."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Depth:
    """The model over the streams inside one frame; used with pattern=depth only."""

    d_model: int
    num_layers: int
    num_heads: int


@dataclass(frozen=True)
class LanguageModel:
    """A token transformer.

    ctx_frames: longest window it can attend to, in frames. mlp_ratio: hidden units of the MLP per model dimension.
    checkpointing: recompute activations in the backward pass, for less memory.
    """

    pattern: Literal["parallel", "delay", "flatten", "depth"]
    d_model: int
    num_layers: int
    num_heads: int
    dropout: float
    ctx_frames: int
    positions: Literal["learned", "rotary"]
    depth: Depth
    mlp_ratio: float = 4.0
    checkpointing: bool = False
