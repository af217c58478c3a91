"""How the new layers of a 2x head start. Every public function here is a choice of `init.name`.

Each takes a head with the layers of `UpsampleHead` and the pretrained decoder, and returns effective weights for the
head by dotted name (see `effective.py`); the head sets them (`Head.initialise`) and `start.py` proves that it did. The
source is the decoder's last block, which turns twice as many channels into the features that the heads see.
"""

from collections.abc import Callable

import torch
from snac.layers import Decoder, NoiseBlock
from torch import Tensor, nn

from snac_exp.codec.effective import effective_weights
from snac_exp.errors import CodecError

_NEW_KERNEL = 4  # taps of a transposed convolution of stride 2


def average(head: nn.Module, decoder: Decoder) -> dict[str, Tensor]:
    """The last block, input channels averaged in pairs; last Snake and convolution as they are; the head's shapes."""
    return _transferred(head, decoder, _average_pairs)


def first(head: nn.Module, decoder: Decoder) -> dict[str, Tensor]:
    """The last block's first half of input channels; last Snake and convolution as they are; the head's shapes."""
    return _transferred(head, decoder, _first_half)


def random(head: nn.Module, decoder: Decoder) -> dict[str, Tensor]:
    """Xavier-uniform weights from torch's generator, biases zero, Snake alphas one; the head's shapes."""
    weights = effective_weights(head)
    for name, value in weights.items():
        if name.endswith(".weight"):
            nn.init.xavier_uniform_(value)
        else:
            value.fill_(1.0 if name.endswith(".alpha") else 0.0)
    return weights


def residual(head: nn.Module, decoder: Decoder) -> dict[str, Tensor]:
    """Block and Snake as under `average`, the last convolution zero: what the head adds to another signal is zero.

    Tensors by dotted name, in the head's shapes.
    """
    weights = _transferred(head, decoder, _average_pairs)
    return weights | {name: torch.zeros_like(weights[name]) for name in ("conv.weight", "conv.bias")}


def _transferred(head: nn.Module, decoder: Decoder, narrow: Callable[[Tensor, int], Tensor]) -> dict[str, Tensor]:
    """Effective weights for the head: those of the decoder's end, with input channels narrowed from 2C to C.

    Args:
        narrow: (tensor, dim) -> tensor with half as many channels in that dimension.
    """
    block, snake, conv = decoder.model[-4:-1]
    wants_noise = _has_noise(head.get_submodule("block.block"))
    if wants_noise and not _has_noise(block.block):
        raise CodecError("this codec has no noise block to start from: set noise=false on the head, or init=random")
    layers = [layer for layer in block.block if wants_noise or not isinstance(layer, NoiseBlock)]
    source = nn.ModuleDict({"block": nn.ModuleDict({"block": nn.Sequential(*layers)}), "snake": snake, "conv": conv})
    weights = effective_weights(source)
    alpha, kernel = "block.block.0.alpha", "block.block.1.weight"
    weights[alpha] = narrow(weights[alpha], 1)
    weights[kernel] = _to_stride_two(narrow(weights[kernel], 0))
    return weights


def _has_noise(layers: nn.Module) -> bool:
    return any(isinstance(layer, NoiseBlock) for layer in layers.children())


def _average_pairs(tensor: Tensor, dim: int) -> Tensor:
    """Means of neighbouring channels: (2 C, D, K) -> (C, D, K) for dim 0, (1, 2 C, 1) -> (1, C, 1) for dim 1."""
    index = torch.arange(0, tensor.shape[dim], 2, device=tensor.device)
    return (tensor.index_select(dim, index) + tensor.index_select(dim, index + 1)) / 2


def _first_half(tensor: Tensor, dim: int) -> Tensor:
    """The first half of the channels; shapes as `_average_pairs`."""
    return tensor.narrow(dim, 0, tensor.shape[dim] // 2)


def _to_stride_two(kernel: Tensor) -> Tensor:
    """Kernel of a transposed convolution (in, out, 2 * stride) -> (in, out, 4); one of stride 2 stays as it is.

    A kernel spans two input frames whatever its stride, so each new tap is the mean of the old taps in its quarter.
    Each output phase sums taps half a kernel apart; so its gain at DC is the mean of the old phases' gains in that half
    of a frame.
    """
    return kernel.repeat_interleave(2, dim=-1).unflatten(-1, (_NEW_KERNEL, -1)).mean(dim=-1)  # type: ignore[no-untyped-call,no-any-return]
