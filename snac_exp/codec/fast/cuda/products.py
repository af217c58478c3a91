"""The second half of a residual unit as operations of PyTorch: Snake, 1x1 convolution, sum with the unit's input.

Signals are (B, C, T). The narrow types alone: cards multiply float32 slowly where it has to be exact.
"""

from typing import Any

import torch
from torch import Tensor

from snac_exp.codec.fast.cuda.operations import in_shape_of, launch, room_like

NARROW = (torch.bfloat16, torch.float16)
FORWARD: dict[int, dict[str, Any]] = {
    **{channels: {"CHUNK": channels, "TILE": 128, "num_warps": 4} for channels in (16, 32)},
    64: {"CHUNK": 64, "TILE": 64, "num_warps": 4},
    128: {"CHUNK": 32, "TILE": 64, "num_warps": 8},
    256: {"CHUNK": 32, "TILE": 64, "num_warps": 8},
}
"""Sizes by number of channels, such that nothing spills; more channels hold few samples and are the library's."""
BACKWARD: dict[int, dict[str, Any]] = {
    **{channels: {"TILE": 32, "num_warps": 4} for channels in (16, 32)},
    64: {"TILE": 64, "num_warps": 8},
    128: {"TILE": 32, "num_warps": 8},
}
"""The same; a program has the gradient of the whole weight in registers."""
PROGRAMS = {"most": 528}  # that share the stretches; each leaves a gradient of the weight, whatever the card


@torch.library.custom_op("snac_exp::cuda_snake_pointwise", mutates_args=())
def cuda_snake_pointwise(middle: Tensor, x: Tensor, alpha: Tensor, point: Tensor, bias: Tensor) -> Tensor:
    """x + point snake(middle) + bias: signals (B, C, T), alpha (1, C, 1), point (C, C, 1), bias (C,)."""
    middle, channels = middle.contiguous(), middle.shape[1]
    y, sizes = room_like(x, torch.promote_types(x.dtype, middle.dtype)), FORWARD[channels]
    num_tiles = -(-middle.shape[2] // sizes["TILE"])
    weight = point.to(middle.dtype).contiguous()
    arrays = (middle, x.contiguous(), alpha.contiguous(), weight, bias.contiguous(), y)
    numbers = (middle.shape[2], num_tiles)
    launch("snake_pointwise_forward", len(x) * num_tiles, x, *arrays, *numbers, CHANNELS=channels, **sizes)
    return y


@cuda_snake_pointwise.register_fake
def _(middle: Tensor, x: Tensor, alpha: Tensor, point: Tensor, bias: Tensor) -> Tensor:
    """(B, C, T) twice -> (B, C, T)."""
    return room_like(x, torch.promote_types(x.dtype, middle.dtype))


@torch.library.custom_op("snac_exp::cuda_snake_pointwise_gradients", mutates_args=())
def cuda_snake_pointwise_gradients(
    grad: Tensor, middle: Tensor, alpha: Tensor, point: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """grad, middle (B, C, T) of one type -> gradients of middle, alpha (1, C, 1), point (C, C, 1) and bias (C,)."""
    middle, channels = middle.contiguous(), middle.shape[1]
    grad_middle, sizes = room_like(middle, middle.dtype), BACKWARD[channels]
    num_tiles = -(-middle.shape[2] // sizes["TILE"])
    num_stretches = len(middle) * num_tiles
    programs = min(num_stretches, PROGRAMS["most"])
    by_weight = middle.new_empty((programs, channels, channels), dtype=torch.float32)
    by_vectors = middle.new_empty((programs, 2, channels), dtype=torch.float32)
    weight = point.to(middle.dtype).contiguous()
    arrays = (grad.contiguous(), middle, alpha.contiguous(), weight, grad_middle, by_weight, by_vectors)
    numbers = (middle.shape[2], num_tiles, num_stretches)
    launch("snake_pointwise_backward", programs, middle, *arrays, *numbers, CHANNELS=channels, **sizes)
    by_alpha, by_bias = by_vectors.sum(0)
    grad_bias = in_shape_of(by_bias, point.new_empty(channels))
    return grad_middle, in_shape_of(by_alpha, alpha), in_shape_of(by_weight.sum(0), point), grad_bias


@cuda_snake_pointwise_gradients.register_fake
def _(grad: Tensor, middle: Tensor, alpha: Tensor, point: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, C, T) twice -> (B, C, T), and the shapes of alpha, point and bias."""
    shapes = (room_like(alpha, alpha.dtype), room_like(point, point.dtype), point.new_empty(len(point)))
    return room_like(middle, middle.dtype), *shapes
