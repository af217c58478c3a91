"""SNAC's decoder with several outputs: one trunk (all decoder blocks), named heads at multiples of the codec's rate."""

import copy
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

import torch
from snac import SNAC
from torch import Tensor, nn

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.fast.layers import use_fast_layers
from snac_exp.codec.geometry import Geometry
from snac_exp.codec.heads import Head
from snac_exp.config.seeding import derive_seed
from snac_exp.errors import CodecError

HeadFactory = Callable[[LoadedCodec], Head]


class Trunk(nn.Sequential):
    """The decoder's first layers one after the other; names as of nn.Sequential.

    torch's compiler looks into no nn.Sequential that it meets first, and would compile layer by layer, all of them
    against one limit: with a forward of its own it is one graph.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Latent (B, C, frames) -> features (B, width, frames * hop)."""
        for layer in self:
            x = layer(x)
        return x


class MultiRateSnac(nn.Module):
    """encoder, quantizer, trunk and heads; parameters are named `trunk.*`, `heads.head_48k.*` and so on.

    Args:
        model: the SNAC model whose modules become parts of this one; its last three decoder layers are left out.
        heads: name -> head; a name like head_48k must tell the head's rate in kHz.

    Raises:
        CodecError: there is no head, a name tells another rate, or a head lacks the native head that it needs.
    """

    def __init__(self, model: SNAC, geometry: Geometry, heads: Mapping[str, Head]) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.quantizer = model.quantizer
        self.trunk = use_fast_layers(Trunk(*list(model.decoder.model)[:-3]))
        self.heads = use_fast_layers(nn.ModuleDict(heads))
        self.geometry = geometry
        self.rates = {name: geometry.sampling_rate * head.multiple for name, head in heads.items()}
        self.native_name = next((name for name, head in heads.items() if head.multiple == 1), None)
        _check_heads(heads, self.rates, self.native_name)

    @classmethod
    def from_codec(cls, codec: LoadedCodec, heads: Mapping[str, HeadFactory], seed: int = 0) -> "MultiRateSnac":
        """Build it on copies of a codec's modules; the codec itself stays as the pretrained reference.

        Weights that a head draws at random are a function of (seed, name of the head); torch's generator stays put.
        """
        built: dict[str, Head] = {}
        for name, factory in heads.items():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(seed, f"heads/{name}"))
                built[name] = factory(codec)
        return cls(copy.deepcopy(codec.model), codec.geometry, built)

    @torch.no_grad()
    def encode(self, audio: Tensor) -> list[Tensor]:
        """Audio (B, 1, N) at the codec's rate, padded to whole steps -> codes[i] (B, T_i), as SNAC.encode."""
        num_samples = self.geometry.coarse_tokens_of(audio.shape[-1]) * self.geometry.coarse_hop
        padded = nn.functional.pad(audio, (0, num_samples - audio.shape[-1]))
        codes: list[Tensor] = self.quantizer(self.encoder(padded))[1]
        return codes

    @torch.no_grad()
    def latent(self, codes: Sequence[Tensor], num_valid: Tensor | None = None) -> Tensor:
        """Codes[i] (B, T_i) -> quantized latent (B, C, frames), zero beyond each row's `num_valid` (B,) coarse tokens.

        Token 0 is a real code, so padding cannot be told from the codes; zeros are what the decoder's own convolutions
        see beyond the end of a signal.
        """
        # In float32 whatever the autocast: the decoder is released to decode this very latent.
        with torch.autocast(codes[0].device.type, enabled=False):
            latent: Tensor = self.quantizer.from_codes(list(codes))
        if num_valid is None:
            return latent
        frames = torch.arange(latent.shape[-1], device=latent.device)
        padding = frames >= num_valid.to(latent.device)[:, None] * self.geometry.vq_strides[0]
        return latent.masked_fill(padding[:, None], 0.0)

    def features(self, latent: Tensor) -> Tensor:
        """Latent (B, C, frames) -> features (B, width, frames * hop)."""
        features: Tensor = self.trunk(latent)
        return features

    def forward(self, features: Tensor, heads: Collection[str] | None = None) -> dict[str, Tensor]:
        """Features -> waveform (B, 1, N at its rate) of each head asked for (all by default), in the model's order.

        A head that needs the native waveform gets it without a graph where the native head is not asked for.
        """
        if heads is not None and not set(heads) <= set(self.rates):
            raise KeyError(f"there is no head {sorted(set(heads) - set(self.rates))}, only {list(self.rates)}")
        names = [name for name in self.rates if heads is None or name in heads]
        native = self._native(features, names)
        waveforms = {} if native is None or self.native_name not in names else {self.native_name: native}
        waveforms |= {name: self._waveform(name, features, native) for name in names if name not in waveforms}
        return {name: waveforms[name] for name in names}

    def decode(self, codes: Sequence[Tensor], heads: Collection[str] | None = None) -> dict[str, Tensor]:
        """Codes[i] (B, T_i) -> waveform of each head asked for."""
        return self.forward(self.features(self.latent(codes)), heads)

    def head(self, name: str) -> Head:
        """The head of this name."""
        return cast(Head, self.heads[name])

    def seed_noise(self, seed: int) -> None:
        """Make the heads' own noise in the next call a function of `seed`; the trunk's comes from torch's generator."""
        for name in self.heads:
            self.head(name).seed_noise(derive_seed(seed, f"noise/{name}"))

    def _native(self, features: Tensor, names: Sequence[str]) -> Tensor | None:
        """features (B, C, T) -> native waveform (B, 1, T) if a head of `names` needs it; a graph only if it is one."""
        asked = self.native_name in names
        if self.native_name is None or not (asked or any(self.head(name).needs_native for name in names)):
            return None
        with torch.set_grad_enabled(asked and torch.is_grad_enabled()):
            return self._waveform(self.native_name, features)

    def _waveform(self, name: str, features: Tensor, native: Tensor | None = None) -> Tensor:
        """features (B, C, T), native (B, 1, T) -> waveform (B, 1, N) of one head."""
        noise = self.head(name).draw_noise(features)
        arguments = (features, native) if noise is None else (features, native, noise)
        return cast(Tensor, self.heads[name](*arguments))


def head_name(rate: int) -> str:
    """How a head of this rate in Hz is called: 48000 -> head_48k."""
    return f"head_{rate // 1000}k"


def _check_heads(heads: Mapping[str, Head], rates: Mapping[str, int], native_name: str | None) -> None:
    if not heads:
        raise CodecError("a model needs at least one head; choose heads=dual, wideband or native")
    for name, rate in rates.items():
        if re.fullmatch(r"head_\d+k", name) and name != head_name(rate):
            raise CodecError(
                f"heads.{name} would emit {rate} Hz with this codec: call it {head_name(rate)}, "
                "in heads, lr.groups and loss alike, or choose a codec of another rate"
            )
        if heads[name].needs_native and native_name is None:
            raise CodecError(f"heads.{name} builds on the native output: add a NativeHead, as heads=dual_residual does")
