"""The Snake activation with a backward pass of its own: the same numbers as upstream's, a fraction of the memory."""

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from snac.layers import Snake1d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ModuleT = TypeVar("ModuleT", bound=nn.Module)

EPSILON = 1e-9  # upstream's guard against alpha = 0

_BLOCK_ELEMENTS = (
    2**16
)  # on a CPU: a few arrays of this many float32 stay in a core's cache from operation to operation


class SnakeFunction(torch.autograd.Function):
    """y = x + sin(a x)^2 / (a + 1e-9), keeping x alone for the backward pass (Ziyin et al. 2020, arXiv:2006.08195).

    dy/dx = 1 + a r sin(2 a x),  dy/da = r x sin(2 a x) - r^2 sin(a x)^2,  with r = 1 / (a + 1e-9).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> Tensor:
        """Same operations in the same order as upstream, so the result is equal bit for bit; x (B, C, T)."""
        ctx.save_for_backward(x, alpha)
        return snake(x, alpha)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and alpha, each only where it is asked for."""
        x, alpha = ctx.saved_tensors
        return snake_gradients(x, alpha, grad, ctx.needs_input_grad)


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """The activation without a graph; x (B, C, T), alpha (1, C, 1)."""
    y = torch.empty_like(x, dtype=torch.result_type(x, alpha), memory_format=torch.contiguous_format)
    for x_rows, alpha_rows, y_rows in _blocks(x, alpha, y):
        torch.mul(alpha_rows, x_rows, out=y_rows)
        y_rows.sin_().pow_(2).mul_((alpha_rows + EPSILON).reciprocal()).add_(x_rows)
    return y


def snake_gradients(
    x: Tensor, alpha: Tensor, grad: Tensor, asked: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of x (B, C, T) and alpha (1, C, 1) from that of the output; None where not asked for."""
    grad = grad.contiguous()
    grad_x = torch.empty_like(grad)
    slopes = []
    for x_rows, alpha_rows, grad_rows, out in _blocks(x, alpha, grad, grad_x):
        reciprocal = (alpha_rows + EPSILON).reciprocal()
        angle = alpha_rows * x_rows
        turned = (2 * angle).sin_().mul_(grad_rows)  # g sin(2 a x), which both gradients need
        if asked[1]:
            square = angle.sin_().pow_(2).mul_(grad_rows).sum(-1, keepdim=True)
            slopes.append(((turned * x_rows).sum(-1, keepdim=True) - square * reciprocal) * reciprocal)
        if asked[0]:
            torch.addcmul(grad_rows, turned, alpha_rows * reciprocal, out=out)
    total = torch.cat(slopes).view(x.shape[0], -1, 1).sum(0, keepdim=True).to(alpha.dtype) if asked[1] else None
    return (grad_x.to(x.dtype) if asked[0] else None), total


def _blocks(x: Tensor, alpha: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows (of batch and channels together) of x, alpha and the other tensors of x's shape, block by block on a CPU."""
    alphas = alpha.expand(x.shape[0], -1, 1).reshape(-1, 1)
    rows = [x.reshape(-1, x.shape[-1]), alphas, *(tensor.view(-1, x.shape[-1]) for tensor in others)]
    num = len(alphas)
    block = max(_BLOCK_ELEMENTS // x.shape[-1], 1) if x.device.type == "cpu" else num
    for first in range(0, num, block):
        yield tuple(tensor[first : first + block] for tensor in rows)


class FastSnake1d(Snake1d):  # type: ignore[misc]
    """Upstream's Snake1d, same parameter, through `SnakeFunction`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        if torch.compiler.is_compiling():  # the compiler fuses and recomputes by itself
            plain: Tensor = x + (self.alpha + EPSILON).reciprocal() * (self.alpha * x).sin().pow(2)
            return plain
        y: Tensor = SnakeFunction.apply(x, self.alpha)  # type: ignore[no-untyped-call]
        return y


def use_fast_snake(module: ModuleT) -> ModuleT:
    """Let every upstream Snake1d inside `module` compute through `SnakeFunction`; names and values stay."""
    for child in module.modules():
        if type(child) is Snake1d:
            child.__class__ = FastSnake1d
    return module
