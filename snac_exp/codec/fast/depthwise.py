"""Depthwise convolutions for training on a CPU: sums of shifted signals, where the library's backward pass crawls.

A depthwise convolution with few taps is memory traffic, not arithmetic: seven scaled and shifted copies of the signal.
Written that way it and its two gradients run at the speed of memory; measured in benchmarks/depthwise.py.
"""

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class DepthwiseFunction(torch.autograd.Function):
    """y[c, t] = b[c] + sum_k w[c, k] x[c, t + (k - K // 2) d] for odd K; equal to conv1d up to the order of the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        """x (B, C, T), weight (C, 1, K), bias (C,) -> (B, C, T); keeps x and weight."""
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        y = _correlate(x, weight[:, 0], dilation)
        return y if bias is None else y.add_(bias[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad (B, C, T) -> gradients of x (B, C, T), weight (C, 1, K) and bias (C,), each only where it is asked for.

        That of x is the correlation with the reversed taps.
        """
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        grad_x = _correlate(grad, weight[:, 0].flip(1), ctx.dilation) if needs_x else None
        grad_weight = _tap_products(x, grad, weight.shape[-1], ctx.dilation)[:, None] if needs_weight else None
        return grad_x, grad_weight, grad.sum((0, 2)) if needs_bias else None, None


def _correlate(x: Tensor, taps: Tensor, dilation: int) -> Tensor:
    """sum_k taps[:, k] * x shifted by (k - K // 2) * dilation, zeros beyond; (B, C, T), (C, K) -> (B, C, T)."""
    num_taps, length = taps.shape[1], x.shape[-1]
    reach = num_taps // 2 * dilation
    # One padded copy; every tap then reads a shifted view of it, so no index leaves the signal.
    padded = F.pad(x, (reach, reach))
    y = padded[..., :length] * taps[:, 0, None]
    for k in range(1, num_taps):
        y.addcmul_(padded[..., k * dilation : k * dilation + length], taps[:, k, None])
    return y


def _tap_products(x: Tensor, grad: Tensor, num_taps: int, dilation: int) -> Tensor:
    """sum over batch and time of grad * x shifted, for every tap: (B, C, T) twice -> (C, K)."""
    length, reach = x.shape[-1], num_taps // 2 * dilation
    padded = F.pad(x, (reach, reach))
    # One buffer for all taps: a fresh product per tap would touch new memory seven times.
    product = torch.empty_like(grad)
    sums = []
    for k in range(num_taps):
        torch.mul(padded[..., k * dilation : k * dilation + length], grad, out=product)
        sums.append(product.sum((0, 2)))
    return torch.stack(sums, dim=1)


class _FastOnCpu:
    """Mixed into a convolution: computes through `DepthwiseFunction` on a CPU while a graph is recorded.

    Without a graph the library's own kernel runs, whose sums are upstream's bit for bit.
    """

    def _conv_forward(self: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x (B, C, T), weight (C, 1, K), bias (C,) -> (B, C, T)."""
        if x.device.type == "cpu" and torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
            y: Tensor = DepthwiseFunction.apply(x, weight, bias, self.dilation[0])  # type: ignore[no-untyped-call]
            return y
        library: Tensor = nn.Conv1d._conv_forward(self, x, weight, bias)
        return library


def use_fast_depthwise(module: ModuleT) -> ModuleT:
    """Let every "same"-padded depthwise convolution inside `module` train through `DepthwiseFunction`; names stay."""
    for child in module.modules():
        if isinstance(child, nn.Conv1d) and not isinstance(child, _FastOnCpu) and is_depthwise(child):
            # The class changes and the parameters stay, so names, hooks and parametrizations are kept.
            child.__class__ = type(type(child).__name__, (_FastOnCpu, type(child)), {})
    return module


def is_depthwise(conv: nn.Conv1d) -> bool:
    """Whether a convolution is depthwise with an odd kernel, and keeps the length."""
    (size,), (dilation,) = conv.kernel_size, conv.dilation
    same = size % 2 == 1 and size > 1 and conv.padding == (size // 2 * dilation,) and conv.padding_mode == "zeros"
    return same and conv.groups == conv.in_channels == conv.out_channels > 1 and conv.stride == (1,)
