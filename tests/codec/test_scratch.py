"""A codec from random weights: reproducible, of any shape, and a signal gets through it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from snac import SNAC
from snac.layers import NoiseBlock, Snake1d
from torch import Tensor, nn

from snac_exp.codec.checkpoint import LoadedCodec, load_directory, save_snac
from snac_exp.codec.heads import NativeHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.quantization import CodebookUsage, quantize
from snac_exp.codec.scratch import AUDIO_RMS, fresh_codec
from snac_exp.errors import CodecError
from tests.helpers.variants import thorough

SHAPE_NAMES = ["small", "attention", *thorough("stride_4", "plain")]


def audio(num_items: int = 4, seconds: float = 1.4, seed: int = 0) -> Tensor:
    """Low-passed noise that comes and goes, of about the level of speech, whole steps of every shape."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_items, 1, round(seconds * 24_000) // 12_288 * 12_288, generator=generator)
    smooth = torch.nn.functional.avg_pool1d(noise, 9, 1, 4)
    envelope = 1 + torch.sin(torch.linspace(0, 40, noise.shape[-1]))
    signal = smooth * envelope
    return signal * (AUDIO_RMS / signal.square().mean().sqrt())


def deviation(x: Tensor) -> float:
    """Of what changes over items and time, averaged over channels; constant offsets carry nothing."""
    return x.var(dim=(0, 2)).mean().sqrt().item()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_a_function_of_config_and_seed_that_leaves_the_generator_alone(
    shapes: dict[str, dict[str, Any]], name: str
) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = fresh_codec(shapes[name], 1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    second, other = fresh_codec(dict(shapes[name]), 1), fresh_codec(shapes[name], 2)
    weights, again, differing = (codec.model.state_dict() for codec in (first, second, other))
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    assert not torch.equal(
        weights["quantizer.quantizers.0.codebook.weight"], differing["quantizer.quantizers.0.codebook.weight"]
    )
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert fresh_codec(shapes[name] | {"codebook_size": 16}, 1).fingerprint != first.fingerprint
    assert not first.model.training
    assert first.config | shapes[name] == first.config


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_it_saves_loads_and_becomes_a_multi_rate_model(
    shapes: dict[str, dict[str, Any]], name: str, tmp_path: Path
) -> None:
    codec = fresh_codec(shapes[name], 0)
    save_snac(codec.model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == codec.config
    loaded, signal = load_directory("again", tmp_path), audio()
    for ours, theirs in zip(codec.model.encode(signal), loaded.model.encode(signal), strict=True):
        assert torch.equal(ours, theirs)
    rate = codec.geometry.sampling_rate // 1000
    model = MultiRateSnac.from_codec(codec, {f"head_{rate}k": NativeHead, f"head_{2 * rate}k": UpsampleHead})
    outputs = model.decode(model.encode(signal))
    assert [output.shape[-1] // signal.shape[-1] for output in outputs.values()] == [1, 2]


def layers_of(codec: LoadedCodec) -> list[tuple[str, nn.Module]]:
    model = codec.model
    encoder = [(f"encoder {i}", layer) for i, layer in enumerate(model.encoder.block)]
    decoder = [(f"decoder {i}", layer) for i, layer in enumerate(model.decoder.model[:-3])]
    return encoder + decoder


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHAPE_NAMES, "real"])
@torch.no_grad()
def test_a_signal_keeps_its_size_through_every_layer(shapes: dict[str, dict[str, Any]], name: str) -> None:
    codec = fresh_codec(shapes[name], 0)
    seen: dict[str, float] = {}
    for label, layer in layers_of(codec):
        layer.register_forward_hook(lambda _, __, output, label=label: seen.update({label: deviation(output)}))
    signal = audio(2 if name == "real" else 4)
    output, _ = codec.model(signal)
    assert len(seen) == len(layers_of(codec))
    assert 0.4 < min(seen.values()) < max(seen.values()) < 1.7, seen
    assert deviation(output) == pytest.approx(AUDIO_RMS, rel=0.6)


@pytest.mark.slow
@torch.no_grad()
def test_where_upstreams_start_has_a_handful_of_codes_this_one_has_most(shapes: dict[str, dict[str, Any]]) -> None:
    config = shapes["small"] | {"codebook_size": 256}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        upstream = SNAC(**config)
    usages = []
    for model in (upstream, fresh_codec(config, 0).model):
        usage = CodebookUsage.of(model.quantizer)
        usage.update(quantize(model.quantizer, model.encoder(audio(16))).codes)
        usages.append([usage.metrics()[f"codebook/{i}/perplexity"] for i in range(3)])
    assert max(usages[0]) < 15 < 60 < min(usages[1]), usages


@pytest.mark.slow
@torch.no_grad()
def test_levels_take_out_what_they_saw(shapes: dict[str, dict[str, Any]]) -> None:
    model = fresh_codec(shapes["real"], 0).model
    latent = model.encoder(audio(2))
    before = latent.square().mean()
    residual = latent - model.quantizer.quantizers[2](latent)[0]  # stride 1: no pooling in between
    assert 0.9 * before < residual.square().mean() < before


@pytest.mark.slow
def test_upstreams_own_starts_stay(shapes: dict[str, dict[str, Any]]) -> None:
    model = fresh_codec(shapes["real"], 0).model
    assert all((module.alpha == 1).all() for module in model.modules() if isinstance(module, Snake1d))
    vectors = torch.cat([level.codebook.weight for level in model.quantizer.quantizers])
    assert vectors.std().item() == pytest.approx(1, abs=0.02)
    gains = [module.linear.weight for module in model.modules() if isinstance(module, NoiseBlock)]
    assert len(gains) == 4
    assert all(weight.norm(dim=1).mean() < 0.05 for weight in gains)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_rates": [2, 4, 8, 4]}, "must have the same product"),
        ({"codebooks": 3}, "codec.scratch does not describe a SNAC model: .*codebooks"),
        ({"vq_strides": [3, 2, 1]}, "multiple of all others"),
    ],
)
def test_impossible_configs_are_refused(
    shapes: dict[str, dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CodecError, match=message):
        fresh_codec(shapes["small"] | change, 0)
