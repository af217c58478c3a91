"""Output heads: from the trunk's features (B, C, T) at the codec's rate to a waveform at a multiple of that rate.

A head of a recipe is one of these classes, named by `_target_` in conf/heads/ with its options; the model calls it with
the loaded codec as first argument. Another head is another subclass of `Head` and a YAML file.
"""

import copy
from abc import ABC, abstractmethod

from snac import SNAC
from snac.layers import DecoderBlock, NoiseBlock, Snake1d, WNConv1d
from torch import Tensor, nn

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.fast.layers import activated
from snac_exp.codec.interpolation import interpolate2x
from snac_exp.codec.noise import SeededNoiseBlock
from snac_exp.errors import CodecError


class Head(nn.Module, ABC):
    """What every head has: `multiple` (output rate over the codec's rate) and whether it needs the native waveform."""

    multiple: int
    needs_native = False

    @abstractmethod
    def forward(self, features: Tensor, native: Tensor | None = None) -> Tensor:
        """features (B, C, T), native (B, 1, T) if `needs_native` -> waveform (B, 1, T * multiple)."""

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


class UpsampleHead(Head):
    """A further 2x decoder block of the codec's own kind (Snake, transposed convolution, three residual units), then
    Snake, convolution to one channel, tanh.

    Args:
        noise: a noise block after the transposed convolution, with noise of its own (see `SeededNoiseBlock`).
    """

    multiple = 2

    def __init__(self, codec: LoadedCodec, noise: bool = False) -> None:
        super().__init__()
        channels = num_features(codec.model)
        groups = channels if codec.config.get("depthwise", True) else 1
        self.block = DecoderBlock(channels, channels, stride=2, noise=noise, groups=groups)
        if noise:
            self.block.block[2] = SeededNoiseBlock(channels)
        self.snake = Snake1d(channels)
        self.conv = WNConv1d(channels, 1, kernel_size=7, padding=3)

    def forward(self, features: Tensor, native: Tensor | None = None) -> Tensor:
        """features (B, C, T) -> waveform (B, 1, 2 T)."""
        waveform: Tensor = activated(self.block(features), self.snake, self.conv).tanh()
        return waveform

    @property
    def has_noise(self) -> bool:
        """Whether the block adds noise."""
        return any(isinstance(layer, NoiseBlock) for layer in self.block.block)


class ResidualHead(UpsampleHead):
    """y = interpolate2x(native) + conv(h): the native waveform in its full band, plus what the features add to it.

    h is the output of the 2x decoder block after its Snake. The native waveform is detached, so that the wide target
    does not train the native head. The convolution has no weight norm and starts at zero: a zero gain under weight norm
    would pass no gradient to its direction. No tanh on the sum.
    """

    needs_native = True

    def __init__(self, codec: LoadedCodec, noise: bool = False) -> None:
        super().__init__(codec, noise)
        self.conv = nn.Conv1d(num_features(codec.model), 1, kernel_size=7, padding=3)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor, native: Tensor | None = None) -> Tensor:
        """features (B, C, T), native (B, 1, T) -> waveform (B, 1, 2 T)."""
        if native is None:
            raise ValueError("ResidualHead needs the native head's waveform")
        residual: Tensor = activated(self.block(features), self.snake, self.conv)
        return interpolate2x(native.detach()) + residual


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
