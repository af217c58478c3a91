"""Snakes and depthwise residual units on a GPU, in few passes over their signals.

A residual unit keeps its input and its middle alone.
With r = 1 / (a + 1e-9):  s = x + r1 sin(a1 x)^2,  m = depthwise(s),  z = m + r2 sin(a2 m)^2,  y = x + W z + b.
What is rounded to the computing type, under autocast the narrow one, is m, z and y, as in upstream's layers; their
Snakes and taps are float32 inside. Of float32 and of many channels the 1x1 convolution is the library's.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snac_exp.codec.fast.cuda.operations import (
    cuda_snake,
    cuda_snake_depthwise,
    cuda_snake_depthwise_gradients,
    cuda_snake_gradients,
)
from snac_exp.codec.fast.cuda.products import (
    BACKWARD,
    FORWARD,
    NARROW,
    cuda_snake_pointwise,
    cuda_snake_pointwise_gradients,
)

_POINTWISE = ((1,), (0,), (1,), False, (0,), 1)  # stride, padding, dilation, transposed, output padding, groups


class KernelSnakeFunction(torch.autograd.Function):
    """y = x + sin(a x)^2 / (a + 1e-9), keeping x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, dtype: torch.dtype) -> Tensor:
        """x (B, C, T), alpha (1, C, 1) -> (B, C, T), rounded to `dtype` as the convolution behind it would."""
        ctx.save_for_backward(x, alpha)
        y: Tensor = cuda_snake(x, alpha, dtype)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad (B, C, T) -> gradients of x (B, C, T) and alpha (1, C, 1), each only where it is asked for."""
        x, alpha = ctx.saved_tensors
        found = (*cuda_snake_gradients(grad, x, alpha), None)
        return tuple(item if asked else None for item, asked in zip(found, ctx.needs_input_grad, strict=True))


class UnitFunction(torch.autograd.Function):
    """x (B, C, T), alphas (1, C, 1), taps (C, 1, K), point (C, C, 1), biases (C,) -> (B, C, T)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dilation: int, dtype: torch.dtype, alpha_in: Tensor, taps: Tensor, bias_in: Tensor,
        alpha_out: Tensor, point: Tensor, bias_out: Tensor,
    ) -> Tensor:  # fmt: skip
        """x (B, C, T) -> (B, C, T), computed in `dtype`; keeps x and the middle."""
        middle = cuda_snake_depthwise(x, alpha_in, taps, bias_in, dilation, dtype)
        ctx.save_for_backward(x, middle, alpha_in, taps, alpha_out, point)
        ctx.dilation = dilation
        if dtype in NARROW and len(point) in FORWARD:
            fused: Tensor = cuda_snake_pointwise(middle, x, alpha_out, point, bias_out)
            return fused
        inner = cuda_snake(middle, alpha_out, dtype)
        change = torch.convolution(inner, point.to(dtype), bias_out.to(dtype), *_POINTWISE)
        y: Tensor = change.add_(x) if torch.promote_types(x.dtype, dtype) == dtype else x + change
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad (B, C, T) -> gradients in the order of `forward`, each only where it is asked for."""
        x, middle, alpha_in, taps, alpha_out, point = ctx.saved_tensors
        grad_middle, *of_second = _second_half(grad.to(middle.dtype), middle, alpha_out, point)
        grad_x, *of_first = cuda_snake_depthwise_gradients(grad_middle, x, grad, alpha_in, taps, ctx.dilation)
        found = (grad_x, None, None, *of_first, *of_second)
        return tuple(item if asked else None for item, asked in zip(found, ctx.needs_input_grad, strict=True))


def _second_half(grad: Tensor, middle: Tensor, alpha: Tensor, point: Tensor) -> tuple[Tensor, ...]:
    """grad, middle (B, C, T) of one type -> gradients of middle, alpha (1, C, 1), point (C, C, 1) and bias (C,)."""
    dtype = middle.dtype
    if dtype in NARROW and len(point) in BACKWARD:
        fused: tuple[Tensor, ...] = cuda_snake_pointwise_gradients(grad, middle, alpha, point)
        return fused
    grad_inner, by_point, by_bias = torch.ops.aten.convolution_backward(
        grad, cuda_snake(middle, alpha, dtype), point.to(dtype), [len(point)], *_POINTWISE, [True, True, True]
    )
    grad_middle, by_alpha = cuda_snake_gradients(grad_inner, middle, alpha)
    return grad_middle, by_alpha, by_point.to(point.dtype), by_bias.to(point.dtype)
