"""Snakes and depthwise residual units on a GPU, in few passes over their signals.

A residual unit keeps its input and its middle alone.
With r = 1 / (a + 1e-9):  s = x + r1 sin(a1 x)^2,  m = depthwise(s),  z = m + r2 sin(a2 m)^2,  y = x + W z + b.
The 1x1 convolution is the library's. What is rounded to the computing type, under autocast the narrow one, is m, z and
y, as in upstream's layers; their Snakes and taps are float32 inside.
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
        inner = cuda_snake(middle, alpha_out, dtype)
        change = torch.convolution(inner, point.to(dtype), bias_out.to(dtype), *_POINTWISE)
        ctx.save_for_backward(x, middle, alpha_in, taps, alpha_out, point)
        ctx.dilation = dilation
        y: Tensor = change.add_(x) if torch.promote_types(x.dtype, dtype) == dtype else x + change
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad (B, C, T) -> gradients in the order of `forward`, each only where it is asked for."""
        x, middle, alpha_in, taps, alpha_out, point = ctx.saved_tensors
        _, _, _, _, _, _, _, by_point, by_bias = ctx.needs_input_grad
        dtype = middle.dtype
        inner = cuda_snake(middle, alpha_out, dtype)
        grad_inner, grad_point, grad_bias_out = torch.ops.aten.convolution_backward(
            grad.to(dtype), inner, point.to(dtype), [len(point)], *_POINTWISE, [True, by_point, by_bias]
        )
        del inner  # memory is at its height here
        grad_middle, grad_alpha_out = cuda_snake_gradients(grad_inner, middle, alpha_out)
        grad_x, grad_alpha_in, grad_taps, grad_bias_in = cuda_snake_depthwise_gradients(
            grad_middle, x, grad, alpha_in, taps, ctx.dilation
        )
        found = (
            grad_x, None, None, grad_alpha_in, grad_taps, grad_bias_in, grad_alpha_out,
            None if grad_point is None else grad_point.to(point.dtype), grad_bias_out,
        )  # fmt: skip
        return tuple(item if asked else None for item, asked in zip(found, ctx.needs_input_grad, strict=True))
