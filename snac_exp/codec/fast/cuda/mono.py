"""Output layers as operations of PyTorch: Snake, then a convolution of all channels to one.

x is (B, C, T) of a narrow type, alpha (1, C, 1), weight (1, C, K), bias (1,), the result (B, 1, T).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snac_exp.codec.fast.cuda.operations import in_shape_of, launch, room_like
from snac_exp.codec.fast.cuda.products import NARROW, PROGRAMS

FORWARD: dict[int, dict[str, Any]] = {
    **{channels: {"WIDE": 256, "num_warps": 4} for channels in (16, 32)},
    64: {"WIDE": 256, "num_warps": 8},
    128: {"WIDE": 128, "num_warps": 8},
}
"""Sizes by number of channels, such that nothing spills."""
BACKWARD: dict[int, dict[str, Any]] = {
    **{channels: {"TILE": 64, "num_warps": 4} for channels in (16, 32)},
    64: {"TILE": 64, "num_warps": 8},
    128: {"TILE": 32, "num_warps": 8},
}
"""The same."""
_ROWS = 16  # least that a product takes, one for a tap
_HALO = 8  # samples, half as many as rows; stretches begin where a vector of 16 bytes does


def mono_takes(x: Tensor, dtype: torch.dtype, conv: torch.nn.Module) -> bool:
    """Whether a Snake on x (B, C, T) and the layer behind it, computed in `dtype`, are ones for the kernels."""
    if not isinstance(conv, torch.nn.Conv1d) or conv.out_channels != 1 or conv.bias is None:
        return False
    size = conv.kernel_size[0]
    same = size % 2 == 1 and conv.padding == (size // 2,) and size < _ROWS
    plain = conv.stride == conv.dilation == (1,) and conv.groups == 1
    return x.dtype == dtype and dtype in NARROW and x.shape[1] in FORWARD and same and plain


class KernelMonoFunction(torch.autograd.Function):
    """x (B, C, T), alpha (1, C, 1), weight (1, C, K), bias (1,) -> (B, 1, T); keeps x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """convolution(snake(x, alpha), weight, bias), (B, 1, T)."""
        ctx.save_for_backward(x, alpha, weight)
        y: Tensor = cuda_snake_mono(x, alpha, weight, bias)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad (B, 1, T) -> gradients in the order of `forward`, each only where it is asked for."""
        x, alpha, weight = ctx.saved_tensors
        by_bias = grad.float().sum((0, 2)).to(weight.dtype)
        found = (*cuda_snake_mono_gradients(grad.to(x.dtype), x, alpha, weight), by_bias)
        return tuple(item if asked else None for item, asked in zip(found, ctx.needs_input_grad, strict=True))


@torch.library.custom_op("snac_exp::cuda_snake_mono", mutates_args=())
def cuda_snake_mono(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution to one channel of the Snake of x (B, C, T): (B, 1, T)."""
    x, (batch, channels, length), num_taps = x.contiguous(), x.shape, weight.shape[-1]
    y, sizes = x.new_empty((batch, 1, length)), FORWARD[channels]
    num_tiles = -(-length // (sizes["WIDE"] - 2 * _HALO))
    arrays = (x, alpha.contiguous(), weight.to(x.dtype).contiguous(), bias.contiguous(), y)
    constants = {"CHANNELS": channels, "TAPS": num_taps, "ROWS": _ROWS, "HALO": _HALO, **sizes}
    launch("snake_mono_forward", batch * num_tiles, x, *arrays, length, num_tiles, **constants)
    return y


@cuda_snake_mono.register_fake
def _(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (B, C, T) -> (B, 1, T)."""
    return x.new_empty((x.shape[0], 1, x.shape[2]))


@torch.library.custom_op("snac_exp::cuda_snake_mono_gradients", mutates_args=())
def cuda_snake_mono_gradients(grad: Tensor, x: Tensor, alpha: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """grad (B, 1, T), x (B, C, T) of one type -> gradients of x, alpha (1, C, 1) and weight (1, C, K)."""
    x, (batch, channels, length), num_taps = x.contiguous(), x.shape, weight.shape[-1]
    grad_x, sizes = room_like(x, x.dtype), BACKWARD[channels]
    num_tiles = -(-length // sizes["TILE"])
    num_stretches = batch * num_tiles
    programs = min(num_stretches, PROGRAMS["most"])
    by_weight = x.new_empty((programs, _ROWS, channels), dtype=torch.float32)
    by_alpha = x.new_empty((programs, channels), dtype=torch.float32)
    arrays = (grad.contiguous(), x, alpha.contiguous(), weight.to(x.dtype).contiguous(), grad_x, by_weight, by_alpha)
    numbers, constants = (length, num_tiles, num_stretches), {"CHANNELS": channels, "TAPS": num_taps, "ROWS": _ROWS}
    launch("snake_mono_backward", programs, x, *arrays, *numbers, **constants, **sizes)
    total = by_weight.sum(0)[:num_taps].t()
    return grad_x, in_shape_of(by_alpha.sum(0), alpha), in_shape_of(total, weight)


@cuda_snake_mono_gradients.register_fake
def _(grad: Tensor, x: Tensor, alpha: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x (B, C, T) -> (B, C, T) and the shapes of alpha and weight."""
    return room_like(x, x.dtype), room_like(alpha, alpha.dtype), room_like(weight, weight.dtype)
