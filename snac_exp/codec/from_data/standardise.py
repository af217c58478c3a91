"""The start of random weights on data: every layer puts out a signal of a known size.

A random layer keeps the variance of white noise (`snac_exp.codec.scratch`), and speech is no white noise. Here every
convolution is scaled, channel by channel, in the order of the forward pass, on audio of the recipe (after Mishkin and
Matas 2016, "All you need is a good init", arXiv:1511.06422):

- no mean and deviation 1; 0.3 at the end of a residual branch, 0.05 of a noise block's gain, that of the audio at the
  output;
- each level of the quantizer projects to the whitened principal components of the residual that it sees, and back with
  the inverse, so it takes out as much as so many dimensions can.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from snac import SNAC
from snac.layers import NoiseBlock, ResidualUnit
from torch import Tensor, nn

from snac_exp.codec.effective import assign_effective
from snac_exp.codec.scratch import BRANCH_GAIN
from snac_exp.config.seeding import derive_seed
from snac_exp.errors import CodecError

NOISE_DEVIATION = 0.05


@torch.no_grad()
def standardise(model: SNAC, audio: Tensor, seed: int) -> None:
    """Scale all layers of a model of random weights on audio (B, 1, N), N whole steps of the codec.

    A function of model, audio and seed; torch's generator stays where it was.

    Raises:
        CodecError: a layer gives the same for all of the audio, as of silence.
    """
    targets = _deviations(model) | {model.decoder.model[-2]: float(audio.std())}
    hooks = [
        layer.register_forward_hook(partial(_standardised, name, targets.get(layer, 1.0)))
        for part, prefix in ((model.encoder, "encoder"), (model.decoder, "decoder"))
        for name, layer in part.named_modules(prefix=prefix)
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
    ]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "standardise"))  # noise blocks draw
            model.decoder(_projected(model, model.encoder(audio)))
    finally:
        for hook in hooks:
            hook.remove()


def _deviations(model: SNAC) -> dict[nn.Module, float]:
    """Layers whose output is not of deviation 1."""
    found: dict[nn.Module, float] = {}
    for module in model.modules():
        if isinstance(module, ResidualUnit):
            found[module.block[3]] = BRANCH_GAIN
        elif isinstance(module, NoiseBlock):
            found[module.linear] = NOISE_DEVIATION
    return found


def _standardised(name: str, deviation: float, layer: Any, _: Any, output: Tensor) -> Tensor:
    """Rescale a layer on its output (B, C, T); gives the output that it has from now on."""
    factor = deviation / output.std((0, 2))
    if not bool(factor.isfinite().all()):
        raise CodecError(
            f"start.standardise_batches: {name} gives a constant for these batches; are they silent? "
            "Raise it, or set it to 0"
        )
    transposed = isinstance(layer, nn.ConvTranspose1d)  # of whose weight the second dimension is the output
    assign_effective(layer, {"weight": layer.weight * (factor[:, None] if transposed else factor[:, None, None])})
    if layer.bias is None:
        return output * factor[:, None]
    mean = output.mean((0, 2))
    assign_effective(layer, {"bias": (layer.bias - mean) * factor})
    corrected: Tensor = (output - mean[:, None]) * factor[:, None]
    return corrected


def _projected(model: SNAC, residual: Tensor) -> Tensor:
    """Set the projections of all levels on the encoder's output (B, C, T); gives what passes them, (B, C, T)."""
    latent = torch.zeros_like(residual)
    for level in model.quantizer.quantizers:
        pooled = F.avg_pool1d(residual, level.stride, level.stride)
        points = pooled.transpose(1, 2).flatten(0, 1)
        mean = points.mean(0)
        # In double: the smallest of the components would else be of rounding alone.
        variances, axes = torch.linalg.eigh((points - mean).double().T.cov())
        scales = variances[-model.codebook_dim :].clamp_min(1e-8).sqrt().float()
        axes = axes[:, -model.codebook_dim :].float()
        inwards, back = (axes / scales).T, axes * scales
        assign_effective(level.in_proj, {"weight": inwards[:, :, None], "bias": -inwards @ mean})
        assign_effective(level.out_proj, {"weight": back[:, :, None], "bias": mean})
        step = level.out_proj(level.in_proj(pooled)).repeat_interleave(level.stride, dim=-1)
        latent, residual = latent + step, residual - step
    return latent
