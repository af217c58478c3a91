"""Output heads: from the trunk's features (B, C, T) at the codec's rate to a waveform at a multiple of that rate.

A head of a recipe is one of these classes, named by `_target_` in conf/heads/ with its options; the model calls it with
the loaded codec as first argument. Another head is another subclass of `Head` and a YAML file; it starts itself
(`inits`, `initialise`) and proves its start (`prove_start`).
"""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from snac import SNAC
from snac.layers import Decoder, DecoderBlock, Snake1d, WNConv1d
from torch import Tensor, nn

from snac_exp.codec import init
from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.effective import assign_effective
from snac_exp.codec.fast.layers import activated
from snac_exp.codec.interpolation import interpolate2x
from snac_exp.codec.noise import SeededNoiseBlock
from snac_exp.errors import CodecError, ConfigError, PreflightError


class Head(nn.Module, ABC):
    """An output of the codec.

    multiple: output rate over the codec's rate. needs_native: whether `forward` needs the native waveform. inits:
    choices of `init.name` that it can start from, checked before torch is imported; none = it starts as it was built,
    from weights that are drawn by the seed or copied from the codec.
    """

    multiple: int
    needs_native = False
    inits: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def forward(self, features: Tensor, native: Tensor | None = None) -> Tensor:
        """features (B, C, T), native (B, 1, T) if `needs_native` -> waveform (B, 1, T * multiple)."""

    def draw_noise(self, features: Tensor) -> Tensor | None:
        """The noise of the next call on features (B, C, T), where the head takes it as its third argument; here None.

        Drawn outside of `forward`, which may be compiled: a generator ends a compiled graph.
        """
        return None

    def initialise(self, decoder: Decoder, name: str) -> dict[str, Tensor]:
        """Start as the function `name` of `snac_exp.codec.init` says; draws come from torch's generator.

        Returns:
            The effective weights that were set, by dotted name, in the layers' shapes; preflight proves that they hold.

        Raises:
            ConfigError: the head has other `inits`.
        """
        if not self.inits:
            return {}
        if name not in self.inits:
            choices = ", ".join(sorted(self.inits))
            raise ConfigError(f"init.name={name} cannot start a {type(self).__name__}; choose one of: {choices}")
        weights: dict[str, Tensor] = getattr(init, name)(self, decoder)
        assign_effective(self, weights)
        return weights

    def prove_start(self, name: str, waveform: Tensor, native: Tensor | None, pretrained: Tensor) -> list[str]:
        """Prove what the head `name` puts out before training; a line for each thing proved, here none.

        Args:
            waveform: (B, 1, T * multiple), its own output for random codes.
            native: (B, 1, T), the native head's; None where there is no such head.
            pretrained: (B, 1, T), the codec's own decoding of the same codes with the same noise.

        Raises:
            PreflightError: the promise is not kept; tells how far it is off.
        """
        return []

    def seed_noise(self, seed: int) -> None:
        """Make this head's noise in the next calls a function of `seed` alone."""
        for module in self.modules():
            if isinstance(module, SeededNoiseBlock):
                module.noise_seed = seed


class NativeHead(Head):
    """The pretrained output: Snake, convolution to one channel, tanh; copies of the codec's own last layers."""

    multiple = 1

    def __init__(self, codec: LoadedCodec) -> None:
        super().__init__()
        snake, conv, _ = codec.model.decoder.model[-3:]
        self.snake = copy.deepcopy(snake)
        self.conv = copy.deepcopy(conv)

    def forward(self, features: Tensor, native: Tensor | None = None) -> Tensor:
        """features (B, C, T) -> waveform (B, 1, T)."""
        waveform: Tensor = activated(features, self.snake, self.conv).tanh()
        return waveform

    def prove_start(self, name: str, waveform: Tensor, native: Tensor | None, pretrained: Tensor) -> list[str]:
        """Its output (B, 1, T) is the pretrained decoder's, bit for bit."""
        if not torch.equal(waveform, pretrained):
            difference = (waveform - pretrained).abs().max().item()
            raise PreflightError(
                f"{name} does not start as the pretrained decoder: outputs differ by up to {difference:.2e}; "
                "the model was not built from this codec, or was trained already"
            )
        return [f"{name} equals the pretrained decoder bit for bit"]


class UpsampleHead(Head):
    """A further 2x decoder block of the codec's own kind (Snake, transposed convolution, three residual units), then
    Snake, convolution to one channel, tanh.

    Args:
        noise: a noise block after the transposed convolution, with noise of its own (see `SeededNoiseBlock`).
    """

    multiple = 2
    inits = frozenset({"average", "first", "random"})

    def __init__(self, codec: LoadedCodec, noise: bool = False) -> None:
        super().__init__()
        channels = num_features(codec.model)
        groups = channels if codec.config.get("depthwise", True) else 1
        self.block = DecoderBlock(channels, channels, stride=2, noise=noise, groups=groups)
        if noise:
            self.block.block[2] = SeededNoiseBlock(channels)
        self.snake = Snake1d(channels)
        self.conv = WNConv1d(channels, 1, kernel_size=7, padding=3)

    def forward(self, features: Tensor, native: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """features (B, C, T), noise (B, 1, 2 T) -> waveform (B, 1, 2 T); without noise the block draws its own."""
        waveform: Tensor = activated(self._widened(features, noise), self.snake, self.conv).tanh()
        return waveform

    def draw_noise(self, features: Tensor) -> Tensor | None:
        """Noise (B, 1, 2 T) of its noise block for features (B, C, T); None without one, or one with other noise."""
        block = self.block.block[2]
        if not isinstance(block, SeededNoiseBlock):
            return None
        return block.draw(features.shape[0], features.shape[2] * self.multiple, features)

    def _widened(self, features: Tensor, noise: Tensor | None) -> Tensor:
        """features (B, C, T), noise (B, 1, 2 T) -> the 2x block's output (B, C, 2 T)."""
        if noise is None:
            drawn_inside: Tensor = self.block(features)
            return drawn_inside
        activation, upsampler, noise_block, *units = self.block.block
        y: Tensor = noise_block(activated(features, activation, upsampler), noise)
        for unit in units:
            y = unit(y)
        return y


class ResidualHead(UpsampleHead):
    """y = interpolate2x(native) + conv(h): the native waveform in its full band, plus what the features add to it.

    h is the output of the 2x decoder block after its Snake. The native waveform is detached, so that the wide target
    does not train the native head. The convolution has no weight norm and starts at zero: a zero gain under weight norm
    would pass no gradient to its direction. No tanh on the sum.
    """

    needs_native = True
    inits = frozenset({"residual"})

    def __init__(self, codec: LoadedCodec, noise: bool = False) -> None:
        super().__init__(codec, noise)
        self.conv = nn.Conv1d(num_features(codec.model), 1, kernel_size=7, padding=3)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor, native: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """features (B, C, T), native (B, 1, T), noise (B, 1, 2 T) -> waveform (B, 1, 2 T)."""
        if native is None:
            raise ValueError("ResidualHead needs the native head's waveform")
        residual: Tensor = activated(self._widened(features, noise), self.snake, self.conv)
        return interpolate2x(native.detach()) + residual

    def prove_start(self, name: str, waveform: Tensor, native: Tensor | None, pretrained: Tensor) -> list[str]:
        """Its output (B, 1, 2 T) is the interpolated native output (B, 1, T), bit for bit."""
        if native is None or not torch.equal(waveform, interpolate2x(native)):
            raise PreflightError(f"{name} does not start as the interpolated native output; its last layer is not zero")
        return [f"{name} starts as the interpolated native output"]


def num_features(model: SNAC) -> int:
    """Channels of the features that heads see: the width of the decoder's last Snake; 64 for snac_24khz.

    Raises:
        CodecError: the decoder does not end as SNAC's do.
    """
    snake = model.decoder.model[-3]
    if not isinstance(snake, Snake1d) or not isinstance(model.decoder.model[-4], DecoderBlock):
        raise CodecError(
            "the codec's decoder does not end in a decoder block, Snake, convolution and tanh as SNAC's does"
        )
    return int(snake.alpha.shape[1])
