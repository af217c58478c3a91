"""How the new layers of a wide head start. Every public function here is a choice of `init.name`.

Each takes the head and the pretrained decoder, sets the head's effective weights (see `effective.py`) and returns what
it set, by name, so that `start.py` can prove that it took. The source is the decoder's last block, which turns twice as
many channels into the features that the heads see.
"""

from collections.abc import Callable

import torch
from snac.layers import Decoder, NoiseBlock
from torch import Tensor, nn

from snac_exp.codec.effective import assign_effective, effective_weights
from snac_exp.codec.heads import Head, ResidualHead, UpsampleHead
from snac_exp.errors import CodecError, ConfigError

_NEW_KERNEL = 4  # taps of a transposed convolution of stride 2


def average(head: Head, decoder: Decoder) -> dict[str, Tensor]:
    """The last block, its input channels averaged in pairs; last Snake and convolution as they are."""
    return _set(head, _transferred(_upsampler(head, "average"), decoder, _average_pairs))


def first(head: Head, decoder: Decoder) -> dict[str, Tensor]:
    """The last block's first half of input channels; last Snake and convolution as they are."""
    return _set(head, _transferred(_upsampler(head, "first"), decoder, _first_half))


def random(head: Head, decoder: Decoder) -> dict[str, Tensor]:
    """Xavier-uniform weights from torch's generator, biases zero, Snake alphas one."""
    weights = effective_weights(_upsampler(head, "random"))
    for name, value in weights.items():
        if name.endswith(".weight"):
            nn.init.xavier_uniform_(value)
        else:
            value.fill_(1.0 if name.endswith(".alpha") else 0.0)
    return _set(head, weights)


def residual(head: Head, decoder: Decoder) -> dict[str, Tensor]:
    """Block and Snake as under `average`, the last convolution zero: the output is the interpolated native output."""
    if not isinstance(head, ResidualHead):
        raise ConfigError(f"init=residual needs a ResidualHead, not {type(head).__name__}: choose heads=dual_residual")
    weights = _transferred(head, decoder, _average_pairs)
    return _set(head, weights | {name: torch.zeros_like(weights[name]) for name in ("conv.weight", "conv.bias")})


def _set(head: Head, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    assign_effective(head, weights)
    return weights


def _upsampler(head: Head, name: str) -> UpsampleHead:
    if isinstance(head, ResidualHead) or not isinstance(head, UpsampleHead):
        found = type(head).__name__
        raise ConfigError(f"init={name} needs an UpsampleHead, not {found}: choose heads=dual, or init=residual")
    return head


def _transferred(head: UpsampleHead, decoder: Decoder, narrow: Callable[[Tensor, int], Tensor]) -> dict[str, Tensor]:
    """Effective weights for the head: those of the decoder's end, with input channels narrowed from 2C to C.

    Args:
        narrow: (tensor, dim) -> tensor with half as many channels in that dimension.
    """
    block, snake, conv = decoder.model[-4:-1]
    has_noise = any(isinstance(layer, NoiseBlock) for layer in block.block)
    if head.has_noise and not has_noise:
        raise CodecError("this codec has no noise block to start from: set noise=false on the head, or init=random")
    layers = [layer for layer in block.block if head.has_noise or not isinstance(layer, NoiseBlock)]
    source = nn.ModuleDict({"block": nn.ModuleDict({"block": nn.Sequential(*layers)}), "snake": snake, "conv": conv})
    weights = effective_weights(source)
    alpha, kernel = "block.block.0.alpha", "block.block.1.weight"
    weights[alpha] = narrow(weights[alpha], 1)
    weights[kernel] = _to_stride_two(narrow(weights[kernel], 0))
    return weights


def _average_pairs(tensor: Tensor, dim: int) -> Tensor:
    index = torch.arange(0, tensor.shape[dim], 2, device=tensor.device)
    return (tensor.index_select(dim, index) + tensor.index_select(dim, index + 1)) / 2


def _first_half(tensor: Tensor, dim: int) -> Tensor:
    return tensor.narrow(dim, 0, tensor.shape[dim] // 2)


def _to_stride_two(kernel: Tensor) -> Tensor:
    """Kernel of a transposed convolution (in, out, 2 * stride) -> (in, out, 4); one of stride 2 stays as it is.

    A kernel spans two input frames whatever its stride, so each new tap is the mean of the old taps in its quarter.
    Each output phase sums taps half a kernel apart; so its gain at DC is the mean of the old phases' gains in that half
    of a frame.
    """
    return kernel.repeat_interleave(2, dim=-1).unflatten(-1, (_NEW_KERNEL, -1)).mean(dim=-1)  # type: ignore[no-untyped-call,no-any-return]
