"""Layers scaled on data: sizes of what they put out, projections that take out what they can, refusals."""

import pytest
import torch
from snac import SNAC
from snac.layers import NoiseBlock, ResidualUnit
from torch import Tensor, nn

from snac_exp.codec.from_data.standardise import standardise
from snac_exp.codec.scratch import fresh_codec
from snac_exp.errors import CodecError

CONFIG = {
    "sampling_rate": 24_000,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 4],
    "decoder_dim": 32,
    "decoder_rates": [4, 4, 2],
    "attn_window_size": None,
    "codebook_size": 32,
    "codebook_dim": 4,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}


def audio(seed: int = 0) -> Tensor:
    """Low-passed noise (4, 1, 4096), as far from white as speech is."""
    noise = torch.randn(4, 1, 4096, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool1d(noise, 15, 1, 7)


def model_on(signal: Tensor) -> SNAC:
    model = fresh_codec(CONFIG, 0).model
    standardise(model, signal, 0)
    return model


@torch.no_grad()
def test_every_layer_puts_out_what_its_place_asks_for() -> None:
    model = model_on(audio())
    small = {unit.block[3] for unit in model.modules() if isinstance(unit, ResidualUnit)}
    gains = {block.linear for block in model.modules() if isinstance(block, NoiseBlock)}
    seen: dict[str, Tensor] = {}
    for name, layer in model.encoder.named_modules(prefix="encoder"):
        if isinstance(layer, nn.Conv1d):
            wanted = 0.3 if layer in small else 1.0
            layer.register_forward_hook(lambda _, __, out, n=name, w=wanted: seen.update({n: out.std((0, 2)) / w}))
    latent = model.encoder(audio())
    assert len(seen) > 20
    for name, ratio in seen.items():
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=2e-3, atol=0, msg=name)
    assert latent.mean((0, 2)).abs().max() < 1e-3
    assert all(0.0 < float(gain.weight.abs().max()) < 1.0 for gain in gains)
    output = model.decoder(latent)  # past the projections that it was scaled behind
    assert 0.3 < float(output.std() / audio().std()) < 3.0


@torch.no_grad()
def test_projections_whiten_and_take_out_as_much_as_their_dimensions_can() -> None:
    model, latent = model_on(audio()), None
    latent = model.encoder(audio())
    level = model.quantizer.quantizers[2]  # of stride 1
    first = model.quantizer.quantizers[0]
    pooled = torch.nn.functional.avg_pool1d(latent, first.stride, first.stride)
    moments = first.in_proj(pooled).transpose(1, 2).flatten(0, 1).T.cov()
    torch.testing.assert_close(moments, torch.eye(4), rtol=0, atol=2e-3)
    rest = pooled - first.out_proj(first.in_proj(pooled))
    variances = torch.linalg.eigvalsh(pooled.transpose(1, 2).flatten(0, 1).T.cov())
    assert float(rest.var((0, 2)).sum()) == pytest.approx(float(variances[:-4].sum()), rel=2e-2)
    assert level.in_proj.weight.isfinite().all()


def test_a_function_of_audio_and_seed_that_leaves_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first, second, other = (model_on(signal).state_dict() for signal in (audio(), audio(), audio(1)))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(
        first["encoder.block.0.parametrizations.weight.original0"],
        other["encoder.block.0.parametrizations.weight.original0"],
    )


def test_silence_is_refused() -> None:
    with pytest.raises(CodecError, match=r"start\.standardise_batches: encoder\.block\.0 gives a constant"):
        model_on(torch.zeros(2, 1, 4096))
