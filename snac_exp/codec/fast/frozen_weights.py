"""Effective weights of layers that do not train, computed once instead of at every step."""

from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_Key = tuple[Any, ...]
_cache: "WeakKeyDictionary[nn.Module, tuple[_Key, Tensor]]" = WeakKeyDictionary()


def weight_of(layer: nn.Module) -> Tensor:
    """`layer.weight`; where it is parametrized (weight norm) and frozen, remembered until its parameters change.

    A change is seen by address and version of what is stored, i.e. any assignment or in-place operation that torch
    counts; writing through `.data` is not counted.
    """
    # Addresses and versions are nothing that a compiled graph could hold.
    if torch.compiler.is_compiling() or not parametrize.is_parametrized(layer, "weight"):
        return layer.weight  # type: ignore[return-value]
    stored = list(layer.parametrizations.weight.parameters())  # type: ignore[union-attr]
    if any(tensor.requires_grad for tensor in stored):
        _cache.pop(layer, None)  # it trains now: what was remembered has no graph
        return layer.weight  # type: ignore[return-value]
    # Address and version together notice both a new tensor and an in-place change of the old one.
    key = tuple((tensor.data_ptr(), tensor._version, tensor.dtype, tensor.device) for tensor in stored)
    known, weight = _cache.get(layer, (None, None))
    if weight is None or known != key:
        weight = cast(Tensor, layer.weight)
        _cache[layer] = (key, weight)
    return weight
