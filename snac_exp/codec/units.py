"""Residual units that train on a CPU in tiles that fit its cache, keeping their input alone for the backward pass.

A unit is two Snakes and two convolutions; written with the library's operations it moves its signal through memory some
thirty times and keeps four copies of it. Here a tile of time goes through all of it while it lies in the cache, and the
backward pass computes the inside of a tile again before it takes the gradients. With r = 1 / (a + 1e-9):

    s = x + r1 sin(a1 x)^2,  m = depthwise(s),  z = m + r2 sin(a2 m)^2,  y = x + W z + b.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snac_exp.codec.activations import EPSILON
from snac_exp.codec.pointwise import outer_product, product
from snac_exp.codec.tiles import SnakeTile, tiles, window


class UnitWeights(NamedTuple):
    """Parameters of a unit as the layers hold them: alphas (1, C, 1), biases (C,), taps (C, 1, K), point (C, C, 1)."""

    alpha_in: Tensor
    taps: Tensor
    bias_in: Tensor
    alpha_out: Tensor
    point: Tensor
    bias_out: Tensor

    def columns(self) -> "UnitWeights":
        """As they meet a tile: columns (C, 1), taps (C, K), point (C, C)."""
        num = self.point.shape[0]
        return UnitWeights(*(tensor.detach().reshape(num, -1) for tensor in self))


class ResidualUnitFunction(torch.autograd.Function):
    """A whole unit; x (B, C, T) float32 or float64, dilation, then the fields of `UnitWeights`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dilation: int, *weights: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T); keeps x and the weights."""
        ctx.save_for_backward(x, *weights)
        ctx.dilation = dilation
        unit = UnitWeights(*weights).columns()
        reach = unit.taps.shape[1] // 2 * dilation
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        for signal, result in zip(x, y, strict=True):
            for start, stop in tiles(signal):
                inner = _snake(window(signal, start - reach, stop + reach), unit.alpha_in)
                middle = _correlate(inner, unit.taps, dilation).add_(unit.bias_in)
                out = torch.add(signal[:, start:stop], unit.bias_out, out=result[:, start:stop])
                out.add_(product(unit.point, _snake(middle, unit.alpha_out)))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and of the weights; None for those not asked for."""
        x, *weights = ctx.saved_tensors
        unit = UnitWeights(*weights).columns()
        sums = UnitWeights(*(torch.zeros_like(column) for column in unit))
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        for signal, gradient, result in zip(x, grad, grad_x, strict=True):
            for start, stop in tiles(signal):
                tile = _tile_backward(signal, gradient, start, stop, unit, ctx.dilation, sums)
                result[:, start:stop] = tile
        found = (grad_x, None, *(total.view_as(weight) for total, weight in zip(sums, weights, strict=True)))
        return tuple(item if asked else None for item, asked in zip(found, ctx.needs_input_grad, strict=True))


def _tile_backward(
    signal: Tensor, gradient: Tensor, start: int, stop: int, unit: UnitWeights, dilation: int, sums: UnitWeights
) -> Tensor:
    """Gradient of samples [start, stop) of one signal (C, T); adds their part of the weights' gradients to `sums`.

    A gradient at t comes from the middle up to `reach` samples away, and that from inputs as far away again. Beyond the
    ends of the signal there are zeros; what the biases make of them there meets gradients that are zero.
    """
    num, reach = stop - start, unit.taps.shape[1] // 2 * dilation
    core = slice(reach, reach + num)
    inner = SnakeTile(window(signal, start - 2 * reach, stop + 2 * reach), unit.alpha_in)
    convolved = inner.value()
    outer = SnakeTile(_correlate(convolved, unit.taps, dilation).add_(unit.bias_in), unit.alpha_out)
    grad_y = window(gradient, start - reach, stop + reach)
    sums.point.add_(outer_product(grad_y[:, core], outer.value()[:, core]))
    sums.bias_out.add_(grad_y[:, core].sum(1, keepdim=True))
    grad_middle = outer.gradient(product(unit.point.t(), grad_y), core, sums.alpha_out)
    own = grad_middle[:, core]
    sums.bias_in.add_(own.sum(1, keepdim=True))
    seen = (convolved.narrow(1, reach + k * dilation, num) for k in range(unit.taps.shape[1]))
    sums.taps.add_(torch.stack([(own * shifted).sum(1) for shifted in seen], dim=1))
    grad_inner = _correlate(grad_middle, unit.taps.flip(1), dilation)
    inner.cut(slice(2 * reach, 2 * reach + num))
    return inner.gradient(grad_inner, slice(None), sums.alpha_in).add_(grad_y[:, core])


def _snake(x: Tensor, alpha: Tensor) -> Tensor:
    """x + r sin(ax)^2 of a tile (C, n)."""
    return (alpha * x).sin_().pow_(2).mul_((alpha + EPSILON).reciprocal()).add_(x)


def _correlate(x: Tensor, taps: Tensor, dilation: int) -> Tensor:
    """sum_k taps[:, k] * x shifted by k * dilation; (C, n), (C, K) -> (C, n - (K - 1) * dilation)."""
    num = x.shape[1] - (taps.shape[1] - 1) * dilation
    first, *others = torch.split(taps, 1, dim=1)
    y: Tensor = x.narrow(1, 0, num) * first
    for k, tap in enumerate(others, start=1):
        y.addcmul_(x.narrow(1, k * dilation, num), tap)
    return y
