"""Codecs with random weights: one of snac_24khz's real shape, small ones of every kind of geometry."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from snac import SNAC
from snac.layers import Snake1d

from snac_exp.codec.checkpoint import LoadedCodec, config_of, fingerprint, load_codec
from snac_exp.codec.geometry import Geometry
from snac_exp.codec.heads import NativeHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac, head_name
from snac_exp.codec.start import initialise

REAL: dict[str, Any] = {
    "sampling_rate": 24000,
    "encoder_dim": 48,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 1024,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 4096,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
SMALL = REAL | {"encoder_dim": 4, "decoder_dim": 128, "codebook_size": 32}
SHAPES = {
    "real": REAL,
    "small": SMALL,
    "stride_4": SMALL | {"encoder_rates": [4, 4, 4, 8], "decoder_rates": [8, 4, 4, 4]},
    "plain": SMALL | {"noise": False, "depthwise": False, "decoder_dim": 64},
    "attention": SMALL
    | {
        "sampling_rate": 32000,
        "encoder_rates": [2, 3, 8, 8],
        "decoder_rates": [8, 8, 3, 2],
        "attn_window_size": 32,
        "vq_strides": [8, 4, 2, 1],
    },
}


@pytest.fixture(scope="session")
def shapes() -> dict[str, dict[str, Any]]:
    """Contents of config.json by name of the shape."""
    return SHAPES


@pytest.fixture(scope="session")
def build_codec() -> Callable[[str], LoadedCodec]:
    """A new codec of a shape; alphas differ from channel to channel as in a trained model."""

    def build(shape: str) -> LoadedCodec:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = SNAC(**SHAPES[shape]).eval()
            for module in model.modules():
                if isinstance(module, Snake1d):
                    torch.nn.init.uniform_(module.alpha, 0.5, 2.0)
        return LoadedCodec(model, Geometry.from_config(SHAPES[shape]), fingerprint(model), "random", config_of(model))

    return build


@pytest.fixture(scope="session")
def codecs(build_codec: Callable[[str], LoadedCodec]) -> Callable[[str], LoadedCodec]:
    """Codec by shape, built once; tests must not change its weights."""
    made: dict[str, LoadedCodec] = {}

    def get(shape: str) -> LoadedCodec:
        if shape not in made:
            made[shape] = build_codec(shape)
        return made[shape]

    return get


@pytest.fixture(scope="session")
def random_codes() -> Callable[..., list[torch.Tensor]]:
    """(codec, num_coarse, batch, seed) -> random codes[i] (batch, T_i)."""

    def draw(codec: LoadedCodec, num_coarse: int, batch: int = 2, seed: int = 0) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        lengths = [codec.geometry.codebook_length(i, num_coarse) for i in range(codec.geometry.num_codebooks)]
        return [torch.randint(codec.model.codebook_size, (batch, length), generator=generator) for length in lengths]

    return draw


@pytest.fixture(scope="session")
def real(codecs: Callable[[str], LoadedCodec]) -> LoadedCodec:
    """A codec of snac_24khz's shape."""
    return codecs("real")


@pytest.fixture(scope="session")
def small(codecs: Callable[[str], LoadedCodec]) -> LoadedCodec:
    """As snac_24khz, with fewer channels."""
    return codecs("small")


@pytest.fixture(scope="session", params=["real", "small", "stride_4", "plain", "attention", "demo"])
def any_codec(request: pytest.FixtureRequest, codecs: Callable[[str], LoadedCodec]) -> LoadedCodec:
    """Every shape in turn, and the bundled codec."""
    if request.param != "demo":
        return codecs(request.param)
    return load_codec("demo", None, None, "demo_codec")


@pytest.fixture(scope="session")
def build_model() -> Callable[..., MultiRateSnac]:
    """(codec, wide, init_name, noise) -> model with a native head and one of class `wide`, named by its rate."""

    def build(
        codec: LoadedCodec, wide: type[UpsampleHead] = UpsampleHead, init_name: str = "average", noise: bool = False
    ) -> MultiRateSnac:
        rate = codec.geometry.sampling_rate
        heads = {head_name(rate): NativeHead, head_name(2 * rate): partial(wide, noise=noise)}
        model = MultiRateSnac.from_codec(codec, heads)
        initialise(model, codec, init_name, seed=0)
        return model

    return build
