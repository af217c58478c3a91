"""What codec a recipe starts from, and how its new heads are initialised."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DeclaredGeometry:
    """What a recipe expects of its checkpoint, so that it can be planned without one; see `codec.geometry`."""

    sampling_rate: int
    hop_length: int
    vq_strides: list[int]
    attn_window_size: int | None = None


@dataclass(frozen=True)
class Architecture:
    """Upstream's arguments of a SNAC that starts from random weights; latent_dim null = the encoder's end."""

    sampling_rate: int
    encoder_dim: int
    encoder_rates: list[int]
    decoder_dim: int
    decoder_rates: list[int]
    attn_window_size: int | None
    codebook_size: int
    codebook_dim: int
    vq_strides: list[int]
    noise: bool
    depthwise: bool
    latent_dim: int | None = None


@dataclass(frozen=True)
class Codec:
    """Which checkpoint: first of a directory in upstream's layout, one bundled with the package, or a hub id.

    kind: snac; or dac, which only token models use. scratch: no checkpoint but random weights of this architecture.
    """

    name: str
    path: str | None
    bundled: str | None
    hub_id: str | None
    geometry: DeclaredGeometry | None
    kind: Literal["snac", "dac"] = "snac"
    scratch: Architecture | None = None


@dataclass(frozen=True)
class Init:
    """How the new wide-band layers start: the function of this name in `snac_exp.codec.init`."""

    name: str
