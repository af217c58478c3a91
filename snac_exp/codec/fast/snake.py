"""The Snake activation with a backward pass of its own: the same numbers as upstream's, a fraction of the memory."""

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from snac.layers import Snake1d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from snac_exp.codec.fast.cuda.choice import computing_dtype, kernels_take, kernels_train
from snac_exp.codec.fast.cuda.functions import KernelSnakeFunction
from snac_exp.codec.fast.cuda.operations import cuda_snake, cuda_snake_gradients
from snac_exp.codec.fast.kernels import EPSILON, Array, snake_gradient_rows, snake_rows

ModuleT = TypeVar("ModuleT", bound=nn.Module)

# On a CPU a few arrays of this many float32 stay in a core's cache from operation to operation.
_BLOCK_ELEMENTS = 2**16


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
        """grad (B, C, T) -> gradients of x (B, C, T) and alpha (1, C, 1), each only where it is asked for."""
        x, alpha = ctx.saved_tensors
        return snake_gradients(x, alpha, grad, ctx.needs_input_grad)


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """The activation without a graph, bit for bit upstream's; x (B, C, T), alpha (1, C, 1)."""
    y = torch.empty_like(x, dtype=torch.result_type(x, alpha), memory_format=torch.contiguous_format)
    # In place and block by block: five operations, one trip through memory.
    for x_rows, alpha_rows, y_rows in _blocks(x, alpha, y):
        torch.mul(alpha_rows, x_rows, out=y_rows)
        y_rows.sin_().pow_(2).mul_((alpha_rows + EPSILON).reciprocal()).add_(x_rows)
    return y


def fast_snake(x: Tensor, alpha: Tensor, dtype: torch.dtype) -> Tensor:
    """`snake` of x (B, C, T), alpha (1, C, 1), as `dtype`, in a loop or kernel of ours where there is one."""
    if kernels_take(x):
        made: Tensor = cuda_snake(x, alpha, dtype)
        return made
    if not in_loops(x, alpha):
        return snake(x, alpha).to(dtype)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    snake_rows(rows(x), rows_of_alpha(x, alpha), rows(y))
    return y.to(dtype)


def snake_gradients(
    x: Tensor, alpha: Tensor, grad: Tensor, asked: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of x (B, C, T) and alpha (1, C, 1) from that of the output; None where not asked for."""
    if in_loops(x, alpha) and grad.dtype == x.dtype:
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        grad_alpha = x.new_empty(x.shape[0] * x.shape[1])
        snake_gradient_rows(rows(x), rows(grad), rows_of_alpha(x, alpha), rows(grad_x), grad_alpha.numpy())
        total = grad_alpha.view(x.shape[0], -1, 1).sum(0, keepdim=True)
        return grad_x if asked[0] else None, total if asked[1] else None
    if kernels_take(x):
        found = cuda_snake_gradients(grad, x, alpha)
        return found[0] if asked[0] else None, found[1] if asked[1] else None
    reciprocal = (alpha + EPSILON).reciprocal()
    # sin(2 a x) and sin(a x)^2 come from one angle; the second overwrites it, since nothing needs it after.
    angle = alpha * x
    turned = (2 * angle).sin_().mul_(grad)  # g sin(2 a x), which both gradients need
    grad_x = torch.addcmul(grad, turned, alpha * reciprocal).to(x.dtype) if asked[0] else None  # type: ignore[assignment]
    if not asked[1]:
        return grad_x, None
    square = angle.sin_().pow_(2).mul_(grad).sum((0, 2), keepdim=True)
    slope = ((turned * x).sum((0, 2), keepdim=True) - square * reciprocal) * reciprocal
    return grad_x, slope.to(alpha.dtype)


def in_loops(*tensors: Tensor) -> bool:
    """Whether the compiled loops take tensors (of any shape): on a CPU, of one type of at least 32 bits."""
    dtype = tensors[0].dtype
    wide = dtype in (torch.float32, torch.float64)
    return wide and all(tensor.dtype == dtype and tensor.device.type == "cpu" for tensor in tensors)


def rows(x: Tensor) -> Array:
    """x (B, C, T) as an array (B C, T)."""
    found: Array = x.detach().reshape(-1, x.shape[-1]).contiguous().numpy()
    return found


def rows_of_alpha(x: Tensor, alpha: Tensor) -> Array:
    """alpha (1, C, 1) as an array (B C,), one for each of x's rows."""
    found: Array = alpha.detach().expand(x.shape[0], -1, 1).reshape(-1).numpy()
    return found


def _blocks(x: Tensor, alpha: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows (of batch and channels together) of x, alpha and y of x's shape, block by block on a CPU."""
    alphas = alpha.expand(x.shape[0], -1, 1).reshape(-1, 1)
    num = len(alphas)
    block = max(_BLOCK_ELEMENTS // x.shape[-1], 1) if x.device.type == "cpu" else num
    x_rows, y_rows = x.reshape(num, -1), y.view(num, -1)
    for first in range(0, num, block):
        part = slice(first, first + block)
        yield x_rows[part], alphas[part], y_rows[part]


class FastSnake1d(Snake1d):  # type: ignore[misc]
    """Upstream's Snake1d, same parameter, through `SnakeFunction`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        if kernels_train(x):
            trained: Tensor = KernelSnakeFunction.apply(x, self.alpha, computing_dtype(x))  # type: ignore[no-untyped-call]
            return trained
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
