"""Codecs as writers and readers of token frames: SNAC, and DAC through the transformers library (extra `dac`)."""

import importlib
import math
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from snac_exp.codec.checkpoint import LoadedCodec, load_codec
from snac_exp.config.schema import Codec
from snac_exp.data.tokens.files import RATE_TOLERANCE, Int64Array
from snac_exp.errors import CodecError, DataError
from snac_exp.lm.frames import FrameLayout, repeat_streams, stack_coarse, take_streams, unstack_coarse
from snac_exp.system.hub import hub_access

DAC_44KHZ = "descript/dac_44khz"
FRAME_KINDS: tuple[Literal["coarse", "repeated"], ...] = ("coarse", "repeated")


class TokenCodec(Protocol):
    """Audio to frames and back.

    sampling_rate in Hz. granule_samples, granule_frames: audio is encoded in whole granules of so many samples, each
    giving so many frames.
    """

    name: str
    layout: FrameLayout
    sampling_rate: int
    granule_samples: int
    granule_frames: int

    def encode(self, audio: Tensor) -> Int64Array:
        """Frames (T, K) of whole granules of mono audio (N,)."""
        ...

    def decode(self, frames: Int64Array) -> Tensor:
        """Audio (N,) of frames (T, K)."""
        ...


class SnacTokens:
    """A SNAC checkpoint; frames: coarse or repeated, see `snac_exp.lm.frames`. Encoding is float32."""

    def __init__(
        self, codec: LoadedCodec, frames: Literal["coarse", "repeated"] = "coarse", device: str = "cpu"
    ) -> None:
        geometry, size = codec.geometry, int(codec.model.codebook_size)
        self.name, self.kind, self.strides = codec.name, frames, geometry.vq_strides
        make = FrameLayout.coarse if frames == "coarse" else FrameLayout.repeated
        self.layout = make(geometry.vq_strides, size, geometry.sampling_rate / geometry.coarse_hop)
        self.sampling_rate = geometry.sampling_rate
        # With local attention a granule is a whole window, which upstream's encoder pads to.
        self.granule_samples = geometry.coarse_hop * geometry.coarse_step
        self.granule_frames = geometry.coarse_step * self.layout.alignment
        self.model, self.device = codec.model.to(device).eval(), torch.device(device)

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Int64Array:
        """Frames (T, K) of mono audio (N,)."""
        codes = self.model.encode(audio.to(self.device)[None, None])
        tokens = [item[0].cpu().numpy() for item in codes]
        frames: Int64Array = (stack_coarse if self.kind == "coarse" else repeat_streams)(tokens, self.strides)
        return frames

    @torch.no_grad()
    def decode(self, frames: Int64Array) -> Tensor:
        """Audio (N,) of frames (T, K); a noise block draws from torch's generator."""
        tokens = (unstack_coarse if self.kind == "coarse" else take_streams)(frames, self.strides)
        codes = [torch.from_numpy(np.ascontiguousarray(item)).to(self.device, torch.int64)[None] for item in tokens]
        audio: Tensor = self.model.decode(codes)[0, 0].cpu()
        return audio


class DacTokens:
    """A Descript audio codec, loaded by the transformers library from the hub or a folder."""

    def __init__(self, path_or_id: str = DAC_44KHZ, device: str = "cpu") -> None:
        self.model: Any = _dac_model(path_or_id).to(device).eval()
        self.name, self.device = Path(path_or_id).name, torch.device(device)
        config = self.model.config
        self.sampling_rate = int(config.sampling_rate)
        self.granule_samples, self.granule_frames = int(config.hop_length), 1
        vocab_sizes = (int(config.codebook_size),) * int(config.n_codebooks)
        self.layout = FrameLayout.plain(vocab_sizes, self.sampling_rate / self.granule_samples)

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Int64Array:
        """Frames (T, K) of mono audio (N,)."""
        codes = self.model.encode(audio.to(self.device)[None, None]).audio_codes
        frames: Int64Array = codes[0].T.cpu().numpy().astype(np.int64)
        return frames

    @torch.no_grad()
    def decode(self, frames: Int64Array) -> Tensor:
        """Audio (N,) of frames (T, K)."""
        codes = torch.from_numpy(np.ascontiguousarray(frames.T)).to(self.device, torch.int64)[None]
        audio: Tensor = self.model.decode(audio_codes=codes).audio_values
        return audio.reshape(-1).cpu()


def listening_codec(
    codec: Codec,
    layout: FrameLayout,
    loaded: LoadedCodec | None = None,
    device: str = "cpu",
    fingerprint: str | None = None,
) -> TokenCodec:
    """The codec of a config that turns frames of this layout into audio.

    Args:
        loaded: it, if it was loaded already.
        fingerprint: of the SNAC that the frames are of, where that is known.

    Raises:
        DataError: the frames are not of this codec.
        CodecError: it cannot be loaded, or is another one.
    """
    made: list[TokenCodec]
    if codec.kind == "dac":
        made = [DacTokens(codec.path or codec.hub_id or codec.name, device)]
    else:
        snac = loaded or load_codec(codec.name, codec.path, codec.hub_id, codec.bundled)
        if fingerprint is not None and fingerprint != snac.fingerprint:
            raise CodecError(
                f"the tokens are of codec {fingerprint[:12]}, but {codec.name} is {snac.fingerprint[:12]} here; name "
                "the folder of the former"
            )
        # The layout alone tells which of the two the frames are.
        made = [SnacTokens(snac, kind, device) for kind in FRAME_KINDS]
    for tokens in made:
        if same_frames(tokens.layout, layout):
            return tokens
    known = " or ".join(described(tokens.layout) for tokens in made)
    raise DataError(
        f"{described(layout)} are not of codec {codec.name}, which has {known}; "
        "choose the codec that made the tokens (codec=NAME), or train without samples (trainer.num_sample_clips=0)"
    )


def same_frames(one: FrameLayout, other: FrameLayout) -> bool:
    """Whether two layouts have the same streams at the same rate."""
    rates = one.frames_per_second, other.frames_per_second
    streams = [(item.vocab_sizes, item.codebooks, item.periods) for item in (one, other)]
    return streams[0] == streams[1] and math.isclose(*rates, rel_tol=RATE_TOLERANCE)


def described(layout: FrameLayout) -> str:
    """A layout in words."""
    return f"frames of {layout.num_streams} tokens at {layout.frames_per_second:.4g} Hz"


def kbps_of(layout: FrameLayout) -> float:
    """Bit rate of the tokens in kbit/s."""
    # A repeated token counts once.
    bits = sum(math.log2(size) / period for size, period in zip(layout.vocab_sizes, layout.periods, strict=True))
    return bits * layout.frames_per_second / 1000


def _dac_model(path_or_id: str) -> Any:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise CodecError(
            "DAC needs the transformers library: pip install 'snac_exp[dac]', or train without samples "
            "(trainer.num_sample_clips=0)"
        ) from error
    mend = "set codec.path=DIR (of snac-exp tokens: dac_model=DIR)"
    with hub_access(path_or_id, "config.json and weights", mend=mend, error=CodecError):
        return transformers.DacModel.from_pretrained(path_or_id)
