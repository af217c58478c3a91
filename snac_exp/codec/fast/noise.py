"""Upstream's noise block as one function: y = x + n * (W x), keeping x and the noise alone."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snac_exp.codec.fast.pointwise import outer_product, product


class NoiseFunction(torch.autograd.Function):
    """x (B, C, T), noise (B, 1, T), weight (C, C, 1) -> (B, C, T); float32 or float64, batch row by batch row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
        """x (B, C, T), noise (B, 1, T), weight (C, C, 1) -> (B, C, T); keeps its arguments."""
        ctx.save_for_backward(x, noise, weight)
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        # Item by item: a (C, T) signal fits the cache where a batch of them does not.
        for signal, drawn, result in zip(x, noise, y, strict=True):
            torch.mul(product(weight[:, :, 0], signal), drawn, out=result).add_(signal)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        """grad (B, C, T) -> those of x (B, C, T) and weight (C, C, 1): dy/dx = 1 + W^T n, dy/dW = n g x^T."""
        x, noise, weight = ctx.saved_tensors
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        grad_weight = torch.zeros_like(weight)
        for signal, drawn, gradient, result in zip(x, noise, grad, grad_x, strict=True):
            scaled = gradient * drawn
            torch.add(product(weight[:, :, 0].t(), scaled), gradient, out=result)
            if ctx.needs_input_grad[2]:
                grad_weight[:, :, 0].add_(outer_product(scaled, signal))
        return grad_x if ctx.needs_input_grad[0] else None, None, grad_weight if ctx.needs_input_grad[2] else None
