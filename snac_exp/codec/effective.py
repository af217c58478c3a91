"""Effective weights: what layers compute with, whatever parametrization stores them.

Under weight norm `conv.weight` is computed at each access from a gain and a direction; writing into its data changes a
temporary. Assigning to it goes through the parametrization's inverse and does change the layer.
"""

from collections.abc import Mapping

import torch
from snac.layers import Snake1d
from torch import Tensor, nn

from snac_exp.errors import CodecError


def effective_weights(module: nn.Module) -> dict[str, Tensor]:
    """Copies of alpha, weight and bias, in their own shapes, of every Snake and convolution inside, by dotted name."""
    weights: dict[str, Tensor] = {}
    for name, child in module.named_modules():
        if isinstance(child, Snake1d):
            weights[f"{name}.alpha"] = child.alpha
        elif isinstance(child, nn.Conv1d | nn.ConvTranspose1d):
            weights[f"{name}.weight"] = child.weight
            if child.bias is not None:
                weights[f"{name}.bias"] = child.bias
    return {name.lstrip("."): weight.detach().clone() for name, weight in weights.items()}


def assign_effective(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set weights as `effective_weights` names them, so that the layers compute with these values.

    Raises:
        CodecError: a shape differs, or a weight that weight norm cannot hold (a row of zeros would become NaN).
    """
    for name, value in weights.items():
        path, _, leaf = name.rpartition(".")
        _assign(module.get_submodule(path), leaf, value, name)


@torch.no_grad()
def _assign(layer: nn.Module, leaf: str, value: Tensor, name: str) -> None:
    """Set one weight; `value` has the very shape of `layer.leaf`."""
    current: Tensor = getattr(layer, leaf)
    if current.shape != value.shape:
        raise CodecError(f"'{name}' has shape {list(current.shape)} and cannot take {list(value.shape)}")
    if not nn.utils.parametrize.is_parametrized(layer, leaf):
        current.copy_(value)
        return
    # Weight norm divides by the norm of each row, of which a row of zeros has none.
    if (value.flatten(1).abs().amax(dim=1) == 0).any():
        raise CodecError(f"'{name}' cannot start at a row of zeros: under weight norm its direction would be NaN")
    # The inverse keeps the very tensor it is given as the direction, so it gets one that nobody else holds.
    setattr(layer, leaf, value.to(current).clone())
