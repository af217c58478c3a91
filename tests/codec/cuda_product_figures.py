"""Of `tests/codec/cuda_figures.py`: largest errors of kernels with products, in narrow types."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from snac_exp.codec.fast.cuda import mono, noise
from snac_exp.codec.fast.cuda import products as operations
from tests.codec.cuda_interpreter import error_of

PRODUCTS = ((16, "bfloat16"), (32, "float16"), (64, "float16"), (64, "bfloat16"), (128, "float16"))
AROUND = ((16, "bfloat16"), (64, "float16"), (128, "float16"), (256, "bfloat16"))


def products(channels: int, dtype: str) -> list[float]:
    """Largest errors of the second half of a unit and its gradients: several stretches, and one that is not full."""
    narrow, length = getattr(torch, dtype), 100 if channels > 64 else 300
    torch.manual_seed(0)
    middle, x, grad = (torch.randn(2, channels, length).to(narrow) for _ in range(3))
    alpha, point, bias = (
        torch.rand(1, channels, 1) + 0.3,
        torch.randn(channels, channels, 1) / channels,
        torch.randn(channels),
    )
    exact = [item.double().requires_grad_() for item in (middle, alpha, point.to(narrow), bias)]
    inner = exact[0] + (exact[1] * exact[0]).sin() ** 2 / (exact[1] + 1e-9)
    y = x.double() + F.conv1d(inner, exact[2], exact[3])
    found = [operations.cuda_snake_pointwise(middle, x, alpha, point, bias)]
    found += operations.cuda_snake_pointwise_gradients(grad, middle, alpha, point)
    wanted = [y.detach(), *torch.autograd.grad(y, exact, grad.double())]
    return [error_of(one, other) for one, other in zip(found, wanted, strict=True)]


def around(channels: int, dtype: str) -> dict[str, list[float]]:
    """Largest errors of noise blocks and output layers with their gradients; the last of stretches is not full."""
    narrow, length = getattr(torch, dtype), 300 if channels < 128 else 100
    torch.manual_seed(0)
    x, grad = (torch.randn(2, channels, length).to(narrow) for _ in range(2))
    drawn, grad_mono = (torch.randn(2, 1, length).to(narrow) for _ in range(2))
    alpha, bias = torch.rand(1, channels, 1) + 0.3, torch.randn(1)
    # Weights are rounded before a product.
    shapes = (channels, channels, 1), (1, channels, 7)
    point, taps = ((torch.randn(shape) / channels).to(narrow).float() for shape in shapes)

    def exact_noise(x: Tensor, point: Tensor) -> Tensor:
        return x + drawn.double() * F.conv1d(x, point)

    def exact_output(x: Tensor, alpha: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        return F.conv1d(x + (alpha * x).sin() ** 2 / (alpha + 1e-9), taps, bias, padding=3)

    found = {
        "noise": _errors(
            lambda x, point: noise.KernelNoiseFunction.apply(x, drawn, point), exact_noise, [x, point], grad
        )
    }
    if channels in mono.FORWARD:
        found["output"] = _errors(mono.KernelMonoFunction.apply, exact_output, [x, alpha, taps, bias], grad_mono)
    return found


def _errors(
    ours: Callable[..., Tensor], exact: Callable[..., Tensor], inputs: list[Tensor], grad: Tensor
) -> list[float]:
    """Largest errors of a function's result and its gradients."""
    leaves = [item.clone().requires_grad_() for item in inputs]
    wide = [item.double().requires_grad_() for item in inputs]
    y, wanted = ours(*leaves), exact(*wide)
    found = [y.detach(), *torch.autograd.grad(y, leaves, grad)]
    expected = [wanted.detach(), *torch.autograd.grad(wanted, wide, grad.double())]
    return [error_of(one, other) for one, other in zip(found, expected, strict=True)]
