"""Layers of upstream beside our form of them."""

import copy

from snac.layers import Snake1d, WNConv1d
from torch import Tensor, nn

from snac_exp.codec.fast.layers import activated, use_fast_layers


class Output(nn.Module):
    """A Snake and a convolution, as at the end of every head."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.snake, self.conv = Snake1d(channels), WNConv1d(channels, out, kernel_size=7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        return activated(x, self.snake, self.conv) if type(self.snake) is not Snake1d else self.conv(self.snake(x))


def pair_of(upstream: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A layer with alphas as training gives them, and ours with the same weights."""
    for module in upstream.modules():
        if isinstance(module, Snake1d):
            nn.init.uniform_(module.alpha, 0.3, 3.0)
    return upstream, use_fast_layers(copy.deepcopy(upstream))
