"""From the modules of a folded model to layers that take pieces."""

from collections.abc import Iterator
from fractions import Fraction
from threading import Lock
from typing import Any, cast

import torch
from snac.attention import LocalMHA
from snac.layers import DecoderBlock, NoiseBlock, ResidualUnit
from torch import Tensor, nn

from snac_exp.codec.heads import Head, NativeHead, ResidualHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.errors import CodecError
from snac_exp.release.incremental.blocks import NoiseLayer, Output, ResidualUnitLayer, Upsampling
from snac_exp.release.incremental.heads import Chain, HeadPath, ResidualPath, WindowedPath
from snac_exp.release.incremental.layers import Attention, Convolution, Layer, Pointwise
from snac_exp.release.streaming.positioned_noise import NoisePosition, noise_sequence
from snac_exp.release.streaming.receptive_field import Probe, measure_receptive_field


def trunk_of(model: MultiRateSnac) -> Chain:
    """The trunk's layers, from latent (N, C) to features (M, width).

    Raises:
        CodecError: it has a layer that SNAC's decoder has not.
    """
    return Chain([layer for module in model.trunk for layer in _layers_of(module)])


def path_of(model: MultiRateSnac, name: str, position: NoisePosition) -> HeadPath:
    """The way to a head's samples; `position` is where the noise blocks of a head of unknown layers read theirs."""
    head = model.head(name)
    # By the very class: a class derived from one of these may compute something else.
    if type(head) is NativeHead:
        return Chain([Output(head.snake, head.conv, tanh=True)])
    if type(head) is UpsampleHead:
        return Chain([*_layers_of(head.block), Output(head.snake, head.conv, tanh=True)])
    if type(head) is ResidualHead:
        return ResidualPath(Chain([*_layers_of(head.block), Output(head.snake, head.conv, tanh=False)]))
    return _windowed(model, name, head, position)


def _layers_of(module: Any) -> Iterator[Layer]:
    """The layers of one of the decoder's modules."""
    if isinstance(module, nn.Conv1d):
        yield Pointwise(module) if module.kernel_size == (1,) else Convolution(module)
    elif isinstance(module, LocalMHA):
        yield Attention(module)
    elif isinstance(module, DecoderBlock):
        snake, upsampler, *others = module.block
        yield Upsampling(snake, upsampler)
        for other in others:
            yield from _layers_of(other)
    elif isinstance(module, NoiseBlock):
        yield NoiseLayer(module, _noise)
    elif isinstance(module, ResidualUnit):
        yield ResidualUnitLayer(module)
    else:
        raise CodecError(f"a {type(module).__name__} in the decoder cannot take a signal piece by piece")


def _noise(seed: int, name: str, start: int, num: int) -> Tensor:
    """(num,) on the CPU."""
    return torch.from_numpy(noise_sequence(seed, name, start, num))


@torch.no_grad()
def _windowed(model: MultiRateSnac, name: str, head: Head, position: NoisePosition) -> WindowedPath:
    """A head of unknown layers, its reach measured."""
    taking_turns = Lock()

    def run(features: Tensor, first: int, seed: int | None) -> Tensor:
        """Features (1, C, T) from number `first` on -> (1, 1, T * multiple)."""
        with taking_turns:  # of batches in other threads, which read the one position too
            position.seeds = None if seed is None else (seed,)
            position.start_frame = Fraction(first, model.geometry.hop_length)
            return cast(Tensor, model(features, [name])[name])

    width = [module.out_channels for module in model.trunk.modules() if isinstance(module, nn.Conv1d)][-1]
    parameter = next(model.trunk.parameters())
    probe = Probe(lambda features: run(features, 0, None), width, 1, head.multiple, 1)
    field = measure_receptive_field(probe, parameter.device, parameter.dtype)
    return WindowedPath(run, head.multiple, field.before, field.after)
