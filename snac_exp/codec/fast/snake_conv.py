"""A Snake and the convolution behind it as one function that keeps the Snake's input alone.

The library's convolution would keep the activated signal beside it; computing it again costs little. Outputs are the
two layers' bit for bit.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.conv import _ConvNd

from snac_exp.codec.fast.cuda.choice import computing_dtype, kernels_take
from snac_exp.codec.fast.cuda.operations import cuda_snake
from snac_exp.codec.fast.frozen_weights import weight_of
from snac_exp.codec.fast.kernels import mono_gradients
from snac_exp.codec.fast.snake import fast_snake, in_loops, snake, snake_gradients
from snac_exp.codec.fast.tiles import tiles, window


class ConvSettings(NamedTuple):
    """What `torch.convolution` takes beside tensors."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


class SnakeConvFunction(torch.autograd.Function):
    """convolution(snake(x, alpha), weight, bias); x (B, C, T), under autocast computed in its type."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor | None, settings: ConvSettings
    ) -> Tensor:
        """x (B, C, T), alpha (1, C, 1), weight (D, C, K) -> (B, D, T'), as the two layers; keeps x and weights."""
        ctx.save_for_backward(x, alpha, weight)
        ctx.settings, ctx.bias_shape = settings, None if bias is None else list(bias.shape)
        if kernels_take(x):
            activated = cuda_snake(x, alpha, computing_dtype(x))
            weight, bias = weight.to(activated.dtype), None if bias is None else bias.to(activated.dtype)
        else:
            activated = snake(x, alpha)
        y: Tensor = torch.convolution(activated, weight, bias, *settings)
        ctx.dtype = y.dtype  # autocast's, where it is on
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad (B, D, T') -> gradients of x, alpha, weight and bias, each only where it is asked for."""
        x, alpha, weight = ctx.saved_tensors
        asked = ctx.needs_input_grad
        if all(asked[:3]) and _is_mono(x, weight, ctx.settings):
            return *_mono_gradients(x, alpha, weight, grad), grad.sum((0, 2)) if asked[3] else None, None
        # The activated signal is computed again here: keeping it would double the memory of the layer.
        below = asked[0] or asked[1]
        grad_activated, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            grad,
            fast_snake(x, alpha, ctx.dtype),
            weight.to(ctx.dtype),
            ctx.bias_shape,
            *ctx.settings,
            [below, asked[2], asked[3]],
        )
        grad_x, grad_alpha = snake_gradients(x, alpha, grad_activated, asked) if below else (None, None)
        return grad_x, grad_alpha, None if grad_weight is None else grad_weight.to(weight.dtype), grad_bias, None


def _is_mono(x: Tensor, weight: Tensor, settings: ConvSettings) -> bool:
    """Whether x (B, C, T) meets an output layer, weight (1, C, K), on a CPU: length kept, one type."""
    size = weight.shape[2]
    plain = settings._replace(padding=()) == ConvSettings((1,), (), (1,), False, (0,), 1)
    shaped = weight.shape[0] == 1 and size % 2 == 1 and settings.padding == (size // 2,)
    return plain and shaped and in_loops(x, weight)


def _mono_gradients(x: Tensor, alpha: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, alpha and weight (1, C, K): products with K shifted copies of the one channel's gradient."""
    reach, taps, column = weight.shape[2] // 2, weight[0].detach().contiguous(), alpha.detach().reshape(-1)
    x, grad_x = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    grad_alpha, grad_taps = torch.zeros_like(column), torch.zeros_like(taps)
    sums = (grad_alpha.numpy(), grad_taps.numpy())
    for signal, gradient, result in zip(x, grad, grad_x, strict=True):
        for start, stop in tiles(signal):
            # A gradient at t comes from outputs up to `reach` samples away, hence the halo.
            seen = window(gradient, start - reach, stop + reach)[0].contiguous()
            arrays = (column.numpy(), taps.numpy(), seen.numpy(), result.numpy())
            mono_gradients(signal.numpy(), start, stop, *arrays, *sums)
    return grad_x, grad_alpha.view_as(alpha), grad_taps[None]


def snake_conv(x: Tensor, activation: nn.Module, conv: _ConvNd) -> Tensor:
    """What a Snake layer and a convolution layer make of x (B, C, T)."""
    settings = ConvSettings(
        conv.stride,
        cast(tuple[int, ...], conv.padding),
        conv.dilation,
        conv.transposed,
        conv.output_padding,
        conv.groups,
    )
    y: Tensor = SnakeConvFunction.apply(  # type: ignore[no-untyped-call]
        x, activation.alpha, weight_of(conv), conv.bias, settings
    )
    return y
