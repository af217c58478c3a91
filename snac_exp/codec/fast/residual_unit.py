"""Residual units that train on a CPU in tiles that fit its cache, keeping their input alone for the backward pass.

A unit is two Snakes and two convolutions; written with the library's operations it keeps four copies of its signal.
Here a tile of time goes through all of it while it lies in the cache, the rows of its channels in compiled loops, and
the backward pass computes the inside of a tile again before it takes the gradients. With r = 1 / (a + 1e-9):

    s = x + r1 sin(a1 x)^2,  m = depthwise(s),  z = m + r2 sin(a2 m)^2,  y = x + W z + b.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snac_exp.codec.fast.kernels import unit_gradients, unit_inside
from snac_exp.codec.fast.pointwise import add_product, outer_product, product
from snac_exp.codec.fast.tiles import tiles, window


class UnitWeights(NamedTuple):
    """Parameters of a unit as the layers hold them: alphas (1, C, 1), biases (C,), taps (C, 1, K), point (C, C, 1)."""

    alpha_in: Tensor
    taps: Tensor
    bias_in: Tensor
    alpha_out: Tensor
    point: Tensor
    bias_out: Tensor

    def matrices(self) -> "UnitWeights":
        """As they meet a tile: alphas and inner bias (C,), taps (C, K), point (C, C), outer bias (C, 1)."""
        num = len(self.point)
        shapes = ((num,), (num, -1), (num,), (num,), (num, num), (num, 1))
        return UnitWeights(
            *(tensor.detach().reshape(shape).contiguous() for tensor, shape in zip(self, shapes, strict=True))
        )


@torch.library.custom_op("snac_exp::residual_unit", mutates_args=())
def residual_unit(
    x: Tensor, dilation: int, alpha_in: Tensor, taps: Tensor, bias_in: Tensor, alpha_out: Tensor, point: Tensor,
    bias_out: Tensor,
) -> Tensor:  # fmt: skip
    """A whole unit, as one operation for the compiler too: x (B, C, T) float32 or float64 -> (B, C, T); keeps x."""
    x = x.contiguous()
    unit = UnitWeights(alpha_in, taps, bias_in, alpha_out, point, bias_out).matrices()
    y = torch.empty_like(x)
    for signal, result in zip(x, y, strict=True):
        for start, stop in tiles(signal):
            out = torch.add(signal[:, start:stop], unit.bias_out, out=result[:, start:stop])
            add_product(out, unit.point, _inside(signal, start, stop, unit, dilation, halo=0)[1])
    return y


@torch.library.custom_op("snac_exp::residual_unit_gradients", mutates_args=())
def residual_unit_gradients(
    grad: Tensor, x: Tensor, dilation: int, alpha_in: Tensor, taps: Tensor, bias_in: Tensor, alpha_out: Tensor,
    point: Tensor, bias_out: Tensor,
) -> list[Tensor]:  # fmt: skip
    """grad, x (B, C, T) -> gradients of x (B, C, T) and of the weights, in the order and shapes of `UnitWeights`."""
    x, grad, weights = (
        x.contiguous(),
        grad.contiguous(),
        UnitWeights(alpha_in, taps, bias_in, alpha_out, point, bias_out),
    )
    unit = weights.matrices()
    sums = UnitWeights(*(torch.zeros_like(weight) for weight in unit))
    grad_x = torch.empty_like(x)
    for signal, gradient, result in zip(x, grad, grad_x, strict=True):
        for start, stop in tiles(signal):
            _tile_backward(signal, gradient, start, stop, unit, dilation, sums, result)
    return [grad_x, *(total.view_as(weight) for total, weight in zip(sums, weights, strict=True))]


# What the compiler asks: shapes and strides of the results, without computing them.
@residual_unit.register_fake
def _(x: Tensor, dilation: int, *weights: Tensor) -> Tensor:
    """x (B, C, T) -> the shape of the unit's output (B, C, T)."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@residual_unit_gradients.register_fake
def _(grad: Tensor, x: Tensor, dilation: int, *weights: Tensor) -> list[Tensor]:
    """grad, x (B, C, T) -> the shapes of the gradients of x and of the weights."""
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, *weights)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep the input (B, C, T) and the weights; the output (B, C, T) is not needed again."""
    x, ctx.dilation, *weights = inputs
    ctx.save_for_backward(x, *weights)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """grad (B, C, T) -> gradients in the order of the operation's arguments."""
    x, *weights = ctx.saved_tensors
    grad_x, *others = residual_unit_gradients(grad, x, ctx.dilation, *weights)
    found = (grad_x, None, *others)
    return tuple(item if asked else None for item, asked in zip(found, ctx.needs_input_grad, strict=True))


residual_unit.register_autograd(_backward, setup_context=_keep)


def _inside(
    signal: Tensor, start: int, stop: int, unit: UnitWeights, dilation: int, halo: int
) -> tuple[Tensor, Tensor]:
    """Of one signal (C, T) the middle m of samples [start - halo, stop + halo), and z of [start, stop)."""
    num, length = len(signal), stop - start
    # Arrays without initial values: the loops write every element.
    middle, inner = signal.new_empty(num, length + 2 * halo), signal.new_empty(num, length)
    alphas = unit.alpha_in.numpy(), unit.alpha_out.numpy()
    convolution = unit.taps.numpy(), unit.bias_in.numpy()
    unit_inside(signal.numpy(), start, stop, dilation, *alphas, *convolution, halo, middle.numpy(), inner.numpy())
    return middle, inner


def _tile_backward(
    signal: Tensor, gradient: Tensor, start: int, stop: int, unit: UnitWeights, dilation: int, sums: UnitWeights,
    result: Tensor,
) -> None:  # fmt: skip
    """Gradient of samples [start, stop) of one signal (C, T), into `result`; adds their part of the weights' to `sums`.

    A gradient at t comes from the middle up to `reach` samples away, and that from inputs as far away again. Beyond the
    ends of the signal there are zeros; what the biases make of them there meets gradients that are zero.
    """
    reach = unit.taps.shape[1] // 2 * dilation
    middle, inner = _inside(signal, start, stop, unit, dilation, halo=reach)
    grad_inner = product(unit.point.t(), window(gradient, start - reach, stop + reach))
    # Weights are summed over the tile alone, so that overlapping halos count no sample twice.
    core = gradient[:, start:stop]
    sums.point.add_(outer_product(core, inner))
    sums.bias_out.add_(core.sum(1, keepdim=True))
    totals = (sums.alpha_in, sums.taps, sums.bias_in, sums.alpha_out)
    weights = (tensor.numpy() for tensor in (unit.alpha_in, unit.taps, unit.alpha_out))
    signals = (tensor.numpy() for tensor in (middle, grad_inner, gradient, result))
    unit_gradients(signal.numpy(), start, stop, dilation, *weights, *signals, *(total.numpy() for total in totals))
