"""Noise blocks as operations of PyTorch: y = x + n W x, in one pass over the signal forward and one backward.

Signals are (B, C, T) of a narrow type, noise (B, 1, T) of the same, weights (C, C, 1).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snac_exp.codec.fast.cuda.operations import launch, room_like
from snac_exp.codec.fast.cuda.products import NARROW, PROGRAMS

FORWARD: dict[int, dict[str, Any]] = {
    **{channels: {"CHUNK": channels, "TILE": 128, "num_warps": 4} for channels in (16, 32)},
    64: {"CHUNK": 64, "TILE": 128, "num_warps": 8},
    128: {"CHUNK": 64, "TILE": 128, "num_warps": 8},
    256: {"CHUNK": 32, "TILE": 64, "num_warps": 8},
}
"""Sizes by number of channels, such that nothing spills; more channels hold few samples and are the library's."""
BACKWARD: dict[int, dict[str, Any]] = {
    **{channels: {"TILE": 128, "num_warps": 4} for channels in (16, 32)},
    64: {"TILE": 64, "num_warps": 8},
    128: {"TILE": 32, "num_warps": 8},
}
"""The same; a program has the gradient of the whole weight in registers."""
_POINTWISE = ((1,), (0,), (1,), False, (0,), 1)  # stride, padding, dilation, transposed, output padding, groups


def noise_takes(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether a noise block on x (B, C, T), computed in `dtype`, is one for the kernels."""
    return x.dtype == dtype and dtype in NARROW and x.shape[1] in FORWARD


class KernelNoiseFunction(torch.autograd.Function):
    """x (B, C, T), noise (B, 1, T), weight (C, C, 1) -> (B, C, T); keeps x, noise and a narrow weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
        """x + noise * (weight x), (B, C, T)."""
        narrow = weight.to(x.dtype)
        ctx.save_for_backward(x, noise, narrow)
        ctx.dtype = weight.dtype
        y: Tensor = cuda_noise(x, noise, narrow)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        """grad (B, C, T) -> those of x (B, C, T) and weight (C, C, 1), each only where it is asked for."""
        x, noise, weight = ctx.saved_tensors
        grad = grad.to(x.dtype)
        if len(weight) in BACKWARD:
            by_x, by_weight = cuda_noise_gradients(grad, x, noise, weight)
        else:
            settings = (None, *_POINTWISE, [True, True, False])
            by_x, by_weight, _ = torch.ops.aten.convolution_backward(noise * grad, x, weight, *settings)
            by_x = by_x.add_(grad)
        asked = ctx.needs_input_grad
        return by_x if asked[0] else None, None, by_weight.to(ctx.dtype) if asked[2] else None


@torch.library.custom_op("snac_exp::cuda_noise", mutates_args=())
def cuda_noise(x: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """x + noise * (weight x), (B, C, T)."""
    x, channels = x.contiguous(), x.shape[1]
    y, sizes = room_like(x, x.dtype), FORWARD[channels]
    num_tiles = -(-x.shape[2] // sizes["TILE"])
    arrays = (x, noise.contiguous(), weight.to(x.dtype).contiguous(), y)
    launch("noise_forward", len(x) * num_tiles, x, *arrays, x.shape[2], num_tiles, CHANNELS=channels, **sizes)
    return y


@cuda_noise.register_fake
def _(x: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """x (B, C, T) -> (B, C, T)."""
    return room_like(x, x.dtype)


@torch.library.custom_op("snac_exp::cuda_noise_gradients", mutates_args=())
def cuda_noise_gradients(grad: Tensor, x: Tensor, noise: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """grad, x (B, C, T) -> gradients of x (B, C, T) and, in float32, weight (C, C, 1)."""
    x, channels = x.contiguous(), x.shape[1]
    grad_x, sizes = room_like(x, x.dtype), BACKWARD[channels]
    num_tiles = -(-x.shape[2] // sizes["TILE"])
    num_stretches = len(x) * num_tiles
    programs = min(num_stretches, PROGRAMS["most"])
    by_weight = x.new_empty((programs, channels, channels), dtype=torch.float32)
    arrays = (grad.contiguous(), x, noise.contiguous(), weight.to(x.dtype).contiguous(), grad_x, by_weight)
    numbers = (x.shape[2], num_tiles, num_stretches)
    launch("noise_backward", programs, x, *arrays, *numbers, CHANNELS=channels, **sizes)
    return grad_x, by_weight.sum(0)[:, :, None].clone(memory_format=torch.contiguous_format)


@cuda_noise_gradients.register_fake
def _(grad: Tensor, x: Tensor, noise: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """grad, x (B, C, T) -> (B, C, T) and the shape of weight."""
    return room_like(x, x.dtype), room_like(weight, torch.float32)
