"""Upstream's layers with faster and smaller training: same names, same parameters, the same numbers.

The layers keep to the plain path, bit for bit upstream's, while no graph is recorded (`torch.no_grad`) and while they
are exported. Compiled to train on a CPU, a residual unit is one operation of ours; in all else the compiler chooses
what to fuse and what to compute again.
"""

from typing import Any, TypeVar

import torch
from snac.layers import DecoderBlock, NoiseBlock, ResidualUnit
from torch import Tensor, nn

from snac_exp.codec.fast.cuda.choice import computing_dtype, kernels_train
from snac_exp.codec.fast.cuda.functions import UnitFunction
from snac_exp.codec.fast.cuda.mono import KernelMonoFunction, mono_takes
from snac_exp.codec.fast.cuda.noise import KernelNoiseFunction, noise_takes
from snac_exp.codec.fast.depthwise import is_depthwise, use_fast_depthwise
from snac_exp.codec.fast.frozen_weights import weight_of
from snac_exp.codec.fast.noise import NoiseFunction
from snac_exp.codec.fast.pointwise import batched_product
from snac_exp.codec.fast.residual_unit import residual_unit
from snac_exp.codec.fast.snake import in_loops, use_fast_snake
from snac_exp.codec.fast.snake_conv import snake_conv

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class FastResidualUnit(ResidualUnit):  # type: ignore[misc]
    """Snake, convolution, Snake, 1x1 convolution, sum: depthwise ones in tiles on a CPU, others pair by pair."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        snake_in, conv_in, snake_out, conv_out = self.block
        # Without a graph upstream's own operations run: their sums are the published model's bit for bit.
        if not records_a_graph():
            plain: Tensor = super().forward(x)
            return plain
        if is_depthwise(conv_in) and (in_tiles(x) or kernels_train(x)):
            inner = (snake_in.alpha, weight_of(conv_in), conv_in.bias)
            outer = (snake_out.alpha, weight_of(conv_out), conv_out.bias)
            if in_tiles(x):
                tiled: Tensor = residual_unit(x, conv_in.dilation[0], *inner, *outer)
                return tiled
            y: Tensor = UnitFunction.apply(  # type: ignore[no-untyped-call]
                x, conv_in.dilation[0], computing_dtype(x), *inner, *outer
            )
            return y
        # On a GPU the compiler fuses the plain layers better than it could see through our functions.
        if torch.compiler.is_compiling():
            compiled: Tensor = super().forward(x)
            return compiled
        return x + snake_conv(snake_conv(x, snake_in, conv_in), snake_out, conv_out)


class FastDecoderBlock(DecoderBlock):  # type: ignore[misc]
    """Its Snake and transposed convolution as one function, then the layers behind them."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C / 2, T * stride)."""
        if not training_eagerly():
            plain: Tensor = super().forward(x)
            return plain
        activation, upsampler, *others = self.block
        y = snake_conv(x, activation, upsampler)
        for layer in others:
            y = layer(y)
        return y


class FastNoiseBlock(NoiseBlock):  # type: ignore[misc]
    """The same draw from torch's generator; product and sum as one function."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        by_kernels = kernels_train(x) and noise_takes(x, computing_dtype(x))
        if not records_a_graph() or not (in_tiles(x) or by_kernels):
            plain: Tensor = super().forward(x)
            return plain
        noise = torch.randn((x.shape[0], 1, x.shape[2]), device=x.device, dtype=x.dtype)
        if by_kernels:
            made: Tensor = KernelNoiseFunction.apply(x, noise, weight_of(self.linear))  # type: ignore[no-untyped-call]
            return made
        if torch.compiler.is_compiling():
            return x + noise * batched_product(weight_of(self.linear)[:, :, 0], x)
        y: Tensor = NoiseFunction.apply(x, noise, weight_of(self.linear))  # type: ignore[no-untyped-call]
        return y


def in_tiles(x: Tensor) -> bool:
    """Whether x (B, C, T) is one for the functions that go through a CPU's cache piece by piece."""
    return in_loops(x) and not torch.is_autocast_enabled("cpu")


def records_a_graph() -> bool:
    """Whether gradients will be asked for, of the interpreter or of a compiler; never in an export."""
    return torch.is_grad_enabled() and not torch.compiler.is_exporting()


def training_eagerly() -> bool:
    """Whether a graph is recorded by the interpreter, not by a compiler or an exporter."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def activated(x: Tensor, activation: nn.Module, conv: Any) -> Tensor:
    """A Snake and a convolution layer on x (B, C, T), in the form that suits."""
    if kernels_train(x) and mono_takes(x, computing_dtype(x), conv):
        mono: Tensor = KernelMonoFunction.apply(  # type: ignore[no-untyped-call]
            x, activation.alpha, weight_of(conv), conv.bias
        )
        return mono
    if training_eagerly():
        return snake_conv(x, activation, conv)
    y: Tensor = conv(activation(x))
    return y


def use_fast_layers(module: ModuleT) -> ModuleT:
    """Let all of upstream's decoder layers inside `module` train in their fast form; names and values stay."""
    fast: dict[type, type[nn.Module]] = {
        ResidualUnit: FastResidualUnit,
        DecoderBlock: FastDecoderBlock,
        NoiseBlock: FastNoiseBlock,
    }
    for child in module.modules():
        if type(child) in fast:
            child.__class__ = fast[type(child)]  # parameters, names and parametrizations stay
    return use_fast_depthwise(use_fast_snake(module))
