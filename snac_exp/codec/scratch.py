"""A SNAC of any config from random weights, started such that a signal gets through all of its layers.

PyTorch's own start, which upstream leaves its layers at, shrinks the signal from layer to layer until biases are all
that the decoder sees, and its noise blocks drown the rest (experiments/demo_codec). The start here keeps the variance
of what passes a layer, whatever its size (after He et al. 2015, arXiv:1502.01852):

- Convolutions: normal weights whose variance times the number of inputs of an output is `gain`^2, with the gain that
  makes up for what stands before the layer: a Snake (alpha 1) turns a standard normal signal into one of mean 0.432 and
  variance 1.121. The bias takes that mean away; other biases are zero.
- Residual branches add a tenth of the variance (gain 0.3), noise blocks a fortieth of the amplitude.
- Each level of the quantizer projects back with the transpose of what it projects with, so a level takes out what it
  saw and the residual cannot grow.
- As upstream has it: codebook vectors standard normal, Snake alphas 1, attention as PyTorch starts linear layers.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from snac import SNAC
from snac.layers import DecoderBlock, EncoderBlock, NoiseBlock, ResidualUnit, Snake1d
from torch import Tensor, nn

from snac_exp.codec.checkpoint import LoadedCodec, config_of
from snac_exp.codec.effective import assign_effective
from snac_exp.codec.geometry import Geometry
from snac_exp.config.seeding import derive_seed
from snac_exp.errors import CodecError

AUDIO_RMS = 0.1  # of speech, roughly; the first layer brings it to 1, the last one back
BRANCH_GAIN = 0.3
NOISE_GAIN = 0.025

_START = 1  # raise it when the same seed starts elsewhere: it is part of a fresh codec's fingerprint
_SNAKE_MEAN = (1 - math.exp(-2)) / 2  # E sin(x)^2 of a standard normal x
_SNAKE_DEVIATION = math.sqrt(1 + (1 + math.exp(-8) - 2 * math.exp(-4)) / 8)  # x and sin(x)^2 are uncorrelated


def fresh_codec(config: Mapping[str, Any], seed: int, name: str = "scratch") -> LoadedCodec:
    """An untrained SNAC in eval mode on the CPU, a function of (config, seed); torch's generator stays where it was.

    Args:
        config: upstream's arguments, as in config.json; `latent_dim` may be None or absent.

    Returns:
        A codec whose fingerprint is of config and seed, not of weights: other machines may round these otherwise.

    Raises:
        CodecError: the config describes no SNAC.
    """
    geometry = Geometry.from_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "codec/scratch"))
        model = _build(config)
        start(model)
    plain = config_of(model)
    identity = json.dumps({"config": plain, "seed": seed, "start": _START}, sort_keys=True)
    return LoadedCodec(model.eval(), geometry, hashlib.sha256(identity.encode()).hexdigest(), name, plain)


@torch.no_grad()
def start(model: SNAC) -> None:
    """Give a SNAC the start described above, with draws from torch's generator."""
    for module in model.modules():
        if isinstance(module, ResidualUnit):
            _draw_after_snake(module.block[1], 1.0)
            _draw_after_snake(module.block[3], BRANCH_GAIN)
        elif isinstance(module, EncoderBlock):
            _draw_after_snake(module.block[4], 1 / _three_units())
        elif isinstance(module, DecoderBlock):
            _draw_after_snake(module.block[1], 1 / _three_units())
        elif isinstance(module, NoiseBlock):
            _draw(module.linear, NOISE_GAIN)
    first, last = model.encoder.block[0], model.encoder.block[-1]
    _draw(first, 1 / AUDIO_RMS)
    _draw(last, 1.0)
    # These two last: they set layers that the loop above has drawn already.
    _start_quantizer(model)
    _start_decoder_ends(model)


def _start_quantizer(model: SNAC) -> None:
    for level in model.quantizer.quantizers:
        _draw(level.in_proj, 1.0)
        # Random rows are nearly orthogonal, so the transpose nearly undoes the projection.
        back = level.in_proj.weight.transpose(0, 1).contiguous()
        assign_effective(level.out_proj, {"weight": back, "bias": torch.zeros_like(level.out_proj.bias)})


def _start_decoder_ends(model: SNAC) -> None:
    """The decoder's first layers see the few dimensions of the latent that all levels together span."""
    layers = model.decoder.model
    spanned = model.codebook_dim * model.n_codebooks / model.latent_dim
    first = [layer for layer in layers[:2] if isinstance(layer, nn.Conv1d)]
    for layer, gain in zip(first, (1 / math.sqrt(min(1.0, spanned)), 1.0), strict=False):
        _draw(layer, gain)
    assert isinstance(layers[-3], Snake1d)
    _draw_after_snake(layers[-2], AUDIO_RMS / _three_units())


def _three_units() -> float:
    """Deviation after three residual units of a signal of deviation 1."""
    return math.pow(1 + BRANCH_GAIN**2, 1.5)


def _draw_after_snake(layer: nn.Module, gain: float) -> None:
    """Weights for an input that a Snake made of a standard normal signal; the bias takes its mean away."""
    weight = _draw(layer, gain / _SNAKE_DEVIATION)
    stride = layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else 1
    inputs = (0, 2) if isinstance(layer, nn.ConvTranspose1d) else (1, 2)
    assign_effective(layer, {"bias": -_SNAKE_MEAN * weight.sum(inputs) / stride})


def _draw(layer: nn.Module, gain: float) -> Tensor:
    """Random weights (in the layer's shape) that turn independent inputs of variance 1 into outputs of variance
    `gain`^2; the bias is zero.
    """
    assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
    taps = layer.kernel_size[0]
    # Every output of a transposed convolution meets one tap in `stride`.
    inputs = layer.in_channels * taps / layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else 0
    inputs = inputs or layer.in_channels // layer.groups * taps
    weight = torch.randn(layer.weight.shape) * (gain / math.sqrt(inputs))
    assign_effective(layer, {"weight": weight})
    if layer.bias is not None:
        assign_effective(layer, {"bias": torch.zeros_like(layer.bias)})
    return weight


def _build(config: Mapping[str, Any]) -> SNAC:
    try:
        return SNAC(**config)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError, IndexError) as error:
        raise CodecError(f"codec.scratch does not describe a SNAC model: {error}") from None
