"""What codec a recipe starts from, and how its new heads are initialised."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DeclaredGeometry:
    """What a recipe expects of its checkpoint, so that it can be planned without one; see `codec.geometry`."""

    sampling_rate: int  # Hz
    hop_length: int  # samples per finest frame
    vq_strides: list[int]  # finest frames per token, coarsest codebook first
    attn_window_size: int | None = None  # finest frames; None = no attention


@dataclass(frozen=True)
class Architecture:
    """Upstream's arguments of a SNAC that starts from random weights; latent_dim null = the encoder's end."""

    sampling_rate: int  # Hz
    encoder_dim: int
    encoder_rates: list[int]  # strides; their product is the hop
    decoder_dim: int
    decoder_rates: list[int]  # of the same product
    attn_window_size: int | None
    codebook_size: int  # entries
    codebook_dim: int  # of an entry, which a latent vector is projected to
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
