"""What the kernels give on a card, against the library's operations in double precision on the same card."""

import torch
import torch.nn.functional as F
from torch import Tensor

from snac_exp.codec.fast.cuda.functions import UnitFunction

CHANNELS, LENGTH, TAPS, DILATIONS = 64, 3008, 7, (1, 3, 9)
TOLERATED = {torch.float32: 1e-5, torch.bfloat16: 1e-1}
"""By type, of the largest value."""


def largest_error(device: torch.device) -> float:
    """The largest error of a residual unit's output and gradients, over what is tolerated; up to 1 all is well.

    Two stretches of time, so that what they share is seen; each of the dilations of a decoder block, in both types.
    """
    errors = [_error(dilation, dtype, device) / TOLERATED[dtype] for dilation in DILATIONS for dtype in TOLERATED]
    # The maximum of tensors keeps NaN, Python's may lose it.
    return float(torch.stack(errors).max())


def _error(dilation: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The largest difference of a tensor computed in `dtype`, relative to its largest value."""
    x, *weights, grad = _drawn(dilation, dtype, device)
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        ours = [tensor.clone().requires_grad_() for tensor in (x, *weights)]
        exact = [tensor.double().requires_grad_() for tensor in (x, *weights)]
        found = UnitFunction.apply(ours[0], dilation, dtype, *ours[1:])  # type: ignore[no-untyped-call]
        wanted = _unit(dilation, *exact)
        actual = [found, *torch.autograd.grad(found, ours, grad)]
        expected = [wanted, *torch.autograd.grad(wanted, exact, grad.double())]
    with torch.no_grad():
        pairs = zip(actual, expected, strict=True)
        return torch.stack([(one - other).abs().max() / other.abs().max() for one, other in pairs]).max()


def _drawn(dilation: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """x (B, C, T), float32 weights in the order of `UnitFunction`, and a gradient (B, C, T)."""
    draws = torch.Generator().manual_seed(dilation)
    signal, alpha, vector = (2, CHANNELS, LENGTH), (1, CHANNELS, 1), (CHANNELS,)
    shapes = (signal, alpha, (CHANNELS, 1, TAPS), vector, alpha, (CHANNELS, CHANNELS, 1), vector, signal)
    drawn = [torch.randn(shape, generator=draws) for shape in shapes]
    for place in (1, 4):  # alphas as trained ones are: not near zero
        drawn[place] = drawn[place].abs() + 0.3
    drawn = [drawn[0].to(dtype), *drawn[1:-1], drawn[-1].to(dtype)]
    return [tensor.to(device) for tensor in drawn]


def _unit(
    dilation: int, x: Tensor, alpha_in: Tensor, taps: Tensor, bias_in: Tensor, alpha_out: Tensor, point: Tensor,
    bias_out: Tensor,
) -> Tensor:  # fmt: skip
    """A residual unit in the library's operations: x (B, C, T) -> (B, C, T)."""
    padding = taps.shape[-1] // 2 * dilation
    activated = x + (alpha_in + 1e-9).reciprocal() * (alpha_in * x).sin().pow(2)
    middle = F.conv1d(activated, taps, bias_in, padding=padding, dilation=dilation, groups=len(taps))
    inner = middle + (alpha_out + 1e-9).reciprocal() * (alpha_out * middle).sin().pow(2)
    return x + F.conv1d(inner, point, bias_out)
