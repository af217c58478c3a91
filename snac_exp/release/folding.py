"""The inference form of a model: weight norm computed once and for all, activations without a backward pass.

Both are exact: the folded weight is the tensor that weight norm would compute at every access, and the activation does
the same operations in the same order. So outputs stay equal bit for bit.
"""

import sys
from typing import TypeVar, cast

from snac.layers import Snake1d
from torch import Tensor, nn
from torch.nn.utils import parametrize

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_EPSILON = 1e-9  # upstream's guard against alpha = 0


class InferenceSnake(Snake1d):  # type: ignore[misc]
    """y = x + sin(a x)^2 / (a + 1e-9), in place after the first product; keeps nothing for a backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        y: Tensor = (self.alpha * x).sin_().pow_(2)
        return y.mul_((self.alpha + _EPSILON).reciprocal()).add_(x)


def fold(module: ModuleT) -> ModuleT:
    """Turn a module into its inference form, in place: plain weights, no gradients, eval mode."""
    for child in module.modules():
        if isinstance(child, Snake1d):
            # The class alone is changed: parameters, their names and the module's place in the model stay.
            child.__class__ = InferenceSnake
        if parametrize.is_parametrized(child):
            _store_effective(child)
    return module.eval().requires_grad_(False)


def _store_effective(layer: nn.Module) -> None:
    """Replace parametrized tensors by their values and the layer's class by the one it had before.

    torch's own `remove_parametrizations` deletes the property from the layer's class, which copies of the layer share.
    """
    # Computed anew at each access, so taken before the parametrizations go.
    values = {name: getattr(layer, name).detach().clone() for name in cast(nn.ModuleDict, layer.parametrizations)}
    # First the class, which holds a property of that name: register_parameter refuses a name that is taken.
    layer.__class__ = _named_class(layer)
    del layer.parametrizations
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value))


def _named_class(layer: nn.Module) -> type[nn.Module]:
    """The layer's class without the ones made on the fly for it: the first that its module knows by name."""
    kinds: list[type[nn.Module]] = [kind for kind in type(layer).__mro__ if issubclass(kind, nn.Module)]
    return next(kind for kind in kinds if _is_named(kind))


def _is_named(kind: type[nn.Module]) -> bool:
    return vars(sys.modules[kind.__module__]).get(kind.__name__) is kind
