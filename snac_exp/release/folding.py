"""The inference form of a model: weight norm computed once and for all, activations without a backward pass.

Both are exact: the folded weight is the tensor that weight norm would compute at every access, and the activation does
the same operations in the same order. So outputs stay equal bit for bit.
"""

from typing import TypeVar

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
            child.__class__ = InferenceSnake
        for name in list(getattr(child, "parametrizations", {})):
            parametrize.remove_parametrizations(child, name, leave_parametrized=True)
    return module.eval().requires_grad_(False)
