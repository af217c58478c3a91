"""The kernels one by one: right against double precision."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.setting import Setting
from snac_exp.codec.fast.cuda import mono, noise, operations, products

TOLERATED = {torch.float32: 1e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}
"""Largest error over the largest value: half a unit in the last place of what is rounded, and as much again."""

DILATIONS, TAPS = (1, 3, 9), 7


def exact(setting: Setting, report: Report) -> None:
    """Every kernel in every type, several widths and dilations, against the library in double precision."""
    widths, batch, length = ((16,), 1, 140) if setting.small else ((16, 64, 128, 256), 2, 3001)
    # The interpreter on a CPU multiplies the bits of bfloat16, not its numbers.
    types = tuple(TOLERATED) if setting.on_cuda else (torch.float32, torch.float16)
    for channels, dtype in itertools.product(widths, types):
        given = Given(setting.device, batch, channels, length, dtype)
        worst: dict[str, float] = {}
        for dilation in DILATIONS if not setting.small else (9,):
            for name, (found, wanted) in _pairs(given, dilation).items():
                error = float((found.double() - wanted).abs().max() / wanted.abs().max())
                worst[name] = max(worst.get(name, 0.0), error)
        for name, error in worst.items():
            report.expect(f"{name} {channels} {str(dtype)[6:]}", error, at_most=TOLERATED[dtype])


class Given:
    """Drawn inputs: signals (B, C, T) of a type, parameters in float32, alphas as trained ones: not near zero."""

    def __init__(self, device: torch.device, batch: int, channels: int, length: int, dtype: torch.dtype) -> None:
        draws = torch.Generator().manual_seed(channels)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draws).to(device)

        self.dtype = dtype
        self.x, self.grad = (drawn(1, channels, length).expand(batch, -1, -1).to(dtype).contiguous() for _ in range(2))
        self.alpha = drawn(1, channels, 1).abs() + 0.3
        self.taps, self.bias = drawn(channels, 1, TAPS), drawn(channels)
        self.point, self.output = drawn(channels, channels, 1) / channels, drawn(1, channels, TAPS) / channels
        self.noise, self.grad_output = (drawn(batch, 1, length).to(dtype) for _ in range(2))

    @property
    def fused(self) -> bool:
        """Whether what has products is a kernel in this type and width."""
        return self.dtype in products.NARROW and len(self.point) in products.FORWARD


def _pairs(given: Given, dilation: int) -> dict[str, tuple[Tensor, Tensor]]:
    """What each kernel gives and what is exact."""
    x, alpha, taps, bias = (item.double().requires_grad_() for item in (given.x, given.alpha, given.taps, given.bias))
    grad = given.grad.double()
    activated = _snake(x, alpha)
    padding = TAPS // 2 * dilation
    convolved = F.conv1d(activated, taps, bias, padding=padding, dilation=dilation, groups=len(taps))
    found = {
        "snake": [operations.cuda_snake(given.x, given.alpha, given.dtype)],
        "snake_gradients": operations.cuda_snake_gradients(given.grad, given.x, given.alpha),
        "depthwise": [depthwise(given, dilation)],
        "depthwise_gradients": depthwise_gradients(given, dilation),
    }
    wanted = {
        "snake": [activated],
        "snake_gradients": torch.autograd.grad(activated, (x, alpha), grad, retain_graph=True),
        "depthwise": [convolved],
        "depthwise_gradients": torch.autograd.grad(convolved, (x, alpha, taps, bias), grad),
    }
    if given.fused:
        for name, (one, other) in _products(given).items():
            found[name], wanted[name] = one, other
    return {
        f"{name}[{place}]": (one, other.detach())
        for name in found
        for place, (one, other) in enumerate(zip(found[name], wanted[name], strict=True))
    }


def _products(given: Given) -> dict[str, tuple[Sequence[Tensor], Sequence[Tensor]]]:
    """What the kernels with products give, and what is exact: halves of units, noise blocks, output layers."""
    x, alpha, bias = (item.double().requires_grad_() for item in (given.x, given.alpha, given.bias))
    point, to_one = (item.to(given.dtype).double().requires_grad_() for item in (given.point, given.output))
    grad, activated = given.grad.double(), _snake(x, alpha)
    half = given.x.double() + F.conv1d(activated, point, bias)
    with_noise = x + given.noise.double() * F.conv1d(x, point)
    mono_of = F.conv1d(activated, to_one, bias[:1], padding=TAPS // 2)
    pairs: dict[str, tuple[Sequence[Tensor], Sequence[Tensor]]] = {
        "pointwise": (pointwise(given), [half]),
        "noise": (noisy(given), [with_noise]),
    }
    if len(given.point) in products.BACKWARD:
        of_half = torch.autograd.grad(half, (x, alpha, point, bias), grad, retain_graph=True)
        pairs["pointwise_gradients"] = pointwise_gradients(given), of_half
        pairs["noise_gradients"] = noise_gradients(given), torch.autograd.grad(with_noise, (x, point), grad)
    if len(given.point) in mono.FORWARD:
        of_mono = torch.autograd.grad(mono_of, (x, alpha, to_one), given.grad_output.double())
        pairs["output"] = output(given), [mono_of]
        pairs["output_gradients"] = output_gradients(given), of_mono
    return pairs


def _snake(x: Tensor, alpha: Tensor) -> Tensor:
    return x + (alpha * x).sin() ** 2 / (alpha + 1e-9)


def depthwise(given: Given, dilation: int) -> Tensor:
    return operations.cuda_snake_depthwise(given.x, given.alpha, given.taps, given.bias, dilation, given.dtype)


def depthwise_gradients(given: Given, dilation: int) -> tuple[Tensor, ...]:
    return operations.cuda_snake_depthwise_gradients(given.grad, given.x, None, given.alpha, given.taps, dilation)


def pointwise(given: Given) -> list[Tensor]:
    return [products.cuda_snake_pointwise(given.x, given.x, given.alpha, given.point, given.bias)]


def pointwise_gradients(given: Given) -> list[Tensor]:
    return list(products.cuda_snake_pointwise_gradients(given.grad, given.x, given.alpha, given.point))


def noisy(given: Given) -> list[Tensor]:
    return [noise.cuda_noise(given.x, given.noise, given.point)]


def noise_gradients(given: Given) -> list[Tensor]:
    return list(noise.cuda_noise_gradients(given.grad, given.x, given.noise, given.point))


def output(given: Given) -> list[Tensor]:
    return [mono.cuda_snake_mono(given.x, given.alpha, given.output, given.bias[:1])]


def output_gradients(given: Given) -> list[Tensor]:
    return list(mono.cuda_snake_mono_gradients(given.grad_output, given.x, given.alpha, given.output))
