"""The kernels as operations of PyTorch: what compilers and counters see of them, and how they are launched.

Signals are (B, C, T) in float32, bfloat16 or float16, parameters in any of these; sums are float32. The operations have
no gradients of their own: the functions of `snac_exp.codec.fast.cuda.functions` put them together.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from snac_exp.errors import ConfigError

HAS_TRITON = find_spec("triton") is not None
if HAS_TRITON:
    from snac_exp.codec.fast.cuda import triton_kernels, triton_mono, triton_noise, triton_products

    _MODULES = (triton_kernels, triton_products, triton_noise, triton_mono)

CUT = {"TILE": 1024, "num_warps": 4}
"""Samples of a program, 8 for each of its threads, and its warps, of 32 threads each."""
SUMS = {"TILE": 2048, "num_warps": 4}
"""The same where a program adds up nine sums: fewer steps of a sum for each sample."""
_ALIGNED = 16  # halos are multiples of this, so that stretches begin where a vector of 32 bytes does


@torch.library.custom_op("snac_exp::cuda_snake", mutates_args=())
def cuda_snake(x: Tensor, alpha: Tensor, dtype: torch.dtype) -> Tensor:
    """Snake of x (B, C, T), alpha (1, C, 1), as (B, C, T) of `dtype`."""
    x, y = x.contiguous(), room_like(x, dtype)
    tile = CUT["TILE"]
    _launch("snake_forward", x, tile, x, alpha.contiguous(), y, **CUT)
    return y


@cuda_snake.register_fake
def _(x: Tensor, alpha: Tensor, dtype: torch.dtype) -> Tensor:
    """x (B, C, T) -> (B, C, T)."""
    return room_like(x, dtype)


@torch.library.custom_op("snac_exp::cuda_snake_gradients", mutates_args=())
def cuda_snake_gradients(grad: Tensor, x: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """grad, x (B, C, T) -> gradients of x (B, C, T) and alpha (1, C, 1), each in its type."""
    tile = CUT["TILE"]
    x, grad_x, sums = x.contiguous(), room_like(x, x.dtype), _partial_sums(1, x, tile)
    _launch("snake_backward", x, tile, grad.contiguous(), x, alpha.contiguous(), grad_x, sums, **CUT)
    return grad_x, in_shape_of(_total(sums)[0], alpha)


@cuda_snake_gradients.register_fake
def _(grad: Tensor, x: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """grad, x (B, C, T) -> (B, C, T) and (1, C, 1)."""
    return room_like(x, x.dtype), room_like(alpha, alpha.dtype)


@torch.library.custom_op("snac_exp::cuda_snake_depthwise", mutates_args=())
def cuda_snake_depthwise(
    x: Tensor, alpha: Tensor, taps: Tensor, bias: Tensor, dilation: int, dtype: torch.dtype
) -> Tensor:
    """Snake of x (B, C, T), then a "same" depthwise convolution, taps (C, 1, K): (B, C, T) of `dtype`."""
    x, y, sizes = x.contiguous(), room_like(x, dtype), _sizes(taps, dilation, CUT)
    parameters = (item.contiguous() for item in (alpha, taps, bias))
    _launch("snake_depthwise_forward", x, sizes["WIDE"] - 2 * sizes["HALO"], x, *parameters, y, **sizes)
    return y


@cuda_snake_depthwise.register_fake
def _(x: Tensor, alpha: Tensor, taps: Tensor, bias: Tensor, dilation: int, dtype: torch.dtype) -> Tensor:
    """x (B, C, T) -> (B, C, T)."""
    return room_like(x, dtype)


@torch.library.custom_op("snac_exp::cuda_snake_depthwise_gradients", mutates_args=())
def cuda_snake_depthwise_gradients(
    grad: Tensor, x: Tensor, skip: Tensor | None, alpha: Tensor, taps: Tensor, dilation: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """grad, x (B, C, T) -> gradients of x (B, C, T), to which `skip` is added, alpha (1, C, 1), taps and bias (C,)."""
    x, grad_x, num_taps, sizes = x.contiguous(), room_like(x, x.dtype), taps.shape[-1], _sizes(taps, dilation, SUMS)
    tile = sizes["WIDE"] - 2 * sizes["HALO"]
    sums = _partial_sums(num_taps + 2, x, tile)
    signals = (grad.contiguous(), x, grad if skip is None else skip.contiguous())
    arrays = (*signals, alpha.contiguous(), taps.contiguous(), grad_x, sums)
    _launch("snake_depthwise_backward", x, tile, *arrays, SKIP=skip is not None, **sizes)
    total = _total(sums)
    by_bias = in_shape_of(total[num_taps], taps.new_empty(len(taps)))
    return grad_x, in_shape_of(total[num_taps + 1], alpha), in_shape_of(total[:num_taps].t(), taps), by_bias


@cuda_snake_depthwise_gradients.register_fake
def _(
    grad: Tensor, x: Tensor, skip: Tensor | None, alpha: Tensor, taps: Tensor, dilation: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """grad, x (B, C, T) -> (B, C, T) and the shapes of alpha, taps and bias."""
    return room_like(x, x.dtype), room_like(alpha, alpha.dtype), room_like(taps, taps.dtype), taps.new_empty(len(taps))


def room_like(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Room for a signal of x's shape (B, C, T), or a parameter's; contiguous."""
    return torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)


def _sizes(taps: Tensor, dilation: int, cut: dict[str, int]) -> dict[str, int]:
    """How a kernel of taps (C, 1, K) is cut, its stretches wider by a halo on both sides."""
    num_taps = taps.shape[-1]
    halo = -(-(num_taps // 2 * dilation) // _ALIGNED) * _ALIGNED
    wide = max(cut["TILE"], 1 << (4 * halo - 1).bit_length())
    return {"DILATION": dilation, "TAPS": num_taps, "HALO": halo, "WIDE": wide, "num_warps": cut["num_warps"]}


def _partial_sums(num: int, x: Tensor, tile: int) -> Tensor:
    """Room for what the programs of x (B, C, T) add up: (num, B, C, stretches)."""
    return x.new_empty((num, x.shape[0], x.shape[1], -(-x.shape[2] // tile)), dtype=torch.float32)


def _total(sums: Tensor) -> Tensor:
    """(num, B, C, stretches) -> (num, C), in a fixed order."""
    return sums.sum((1, 3))


def in_shape_of(total: Tensor, parameter: Tensor) -> Tensor:
    """Sums in the shape and type of a parameter: contiguous, as compilers are told, and a tensor of its own."""
    return total.reshape(parameter.shape).to(parameter.dtype).clone(memory_format=torch.contiguous_format)


def _launch(kernel: str, x: Tensor, tile: int, *tensors: Tensor, **sizes: Any) -> None:
    """A program for each stretch of `tile` samples of each row of x (B, C, T)."""
    batch, channels, length = x.shape
    num_tiles = -(-length // tile)
    launch(kernel, batch * channels * num_tiles, x, *tensors, length, channels, num_tiles, **sizes)


def launch(kernel: str, num_programs: int, x: Tensor, *arguments: Any, **sizes: Any) -> None:
    """Run a kernel on the device of x (of any shape); nothing where there is no program to run.

    Raises:
        ConfigError: Triton is not installed.
    """
    if not HAS_TRITON:
        raise ConfigError("these kernels need triton, which is not installed; set trainer.kernels=off")
    if num_programs == 0 or x.numel() == 0:
        return
    module = next(module for module in _MODULES if hasattr(module, kernel))
    # Triton launches on the current device, which need not be that of the tensors.
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        getattr(module, kernel)[(num_programs,)](*arguments, **sizes)
