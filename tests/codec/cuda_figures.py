"""What the kernels give in Triton's interpreter, as figures in a JSON file: python -m tests.codec.cuda_figures FILE

Many channels alone, each a program that is interpreted: python -m tests.codec.cuda_figures FILE many

In a process of its own, since Triton decides when it is imported whether it interprets; TRITON_INTERPRET=1 is set
outside. Wherever an operation makes room for results it finds NaN there, so that what no program wrote is seen.
"""

import copy
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from snac.layers import DecoderBlock, NoiseBlock, ResidualUnit, Snake1d
from torch import Tensor, nn

from snac_exp.codec.fast.cuda import functions, operations, proof
from snac_exp.codec.fast.cuda.functions import UnitFunction
from snac_exp.codec.fast.layers import use_fast_layers
from tests.codec.cuda_interpreter import as_on_a_gpu, error_of
from tests.codec.cuda_product_figures import AROUND, PRODUCTS, around, products
from tests.codec.layer_pairs import Output

Figures = dict[str, Any]
NOISE = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(3)).bfloat16()

# Batch, channels, samples, dilation: no multiple of a stretch, several stretches, one sample.
SHAPES = ((1, 3, 2100, 9), (1, 2, 2049, 3), (2, 3, 1, 1))


def main() -> None:
    """Write all figures."""
    torch.set_num_threads(1)
    as_on_a_gpu()
    found = many() if sys.argv[2:] == ["many"] else few()
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


def many() -> Figures:
    """The widths of codecs."""
    return {"kernels": kernels(1, 64, 20, 1), "snake": wide(512)}


def few() -> Figures:
    """Everything that a few channels show."""
    return {
        "kernels": {"x".join(map(str, shape)): kernels(*shape) for shape in SHAPES},
        "angles": {str(scale): kernels(1, 2, 1500, 1, scale) for scale in (1e-3, 1e3, 2e4)},
        "numbers": numbers(),
        "types": types(),
        "products": {f"{channels} {dtype}": products(channels, dtype) for channels, dtype in PRODUCTS},
        "around": {f"{channels} {dtype}": around(channels, dtype) for channels, dtype in AROUND},
        "narrow": {
            "block": narrow(lambda: DecoderBlock(16, 8, stride=2, noise=False, groups=8), 16),
            "unit": narrow(lambda: ResidualUnit(16, dilation=3, groups=16), 16),
            "noise": narrow(lambda: NoiseBlock(16), 16, torch.bfloat16),
            "output": narrow(lambda: Output(16, 1), 16, torch.bfloat16),
        },
        "odd": odd(),
        "compiled": compiled(),
        "proof": proved(),
    }


def _drawn(batch: int, channels: int, length: int, scale: float = 1.0) -> list[Tensor]:
    """x, alpha, taps, bias and a gradient of x's shape (B, C, T)."""
    torch.manual_seed(length)
    shapes = ((batch, channels, length), (1, channels, 1), (channels, 1, 7), (channels,), (batch, channels, length))
    x, alpha, taps, bias, grad = (torch.randn(shape) for shape in shapes)
    return [scale * x, alpha.abs() + 0.3, taps, bias, grad]


def kernels(batch: int, channels: int, length: int, dilation: int, scale: float = 1.0) -> Figures:
    """Largest errors of each operation in float32 against double precision, relative to the largest value."""
    x, alpha, taps, bias, grad = _drawn(batch, channels, length, scale)
    exact_x, exact_taps, exact_bias = (item.double().requires_grad_() for item in (x, taps, bias))
    exact_alpha = alpha.double().expand(x.shape).clone().requires_grad_()  # one for each sample: sums have a scale
    # The angle as float32 rounds it: at 10^5 radians its last bit is a hundredth.
    product = exact_alpha * exact_x
    angle = product + ((alpha * x).double() - product).detach()
    activated = exact_x + angle.sin() ** 2 / (exact_alpha + 1e-9)
    options = {"padding": 3 * dilation, "dilation": dilation, "groups": channels}
    convolved = F.conv1d(activated, exact_taps, exact_bias, **options)
    of_snake = torch.autograd.grad(activated, (exact_x, exact_alpha), grad.double(), retain_graph=True)
    of_pair = torch.autograd.grad(convolved, (exact_x, exact_alpha, exact_taps, exact_bias), grad.double())
    ours = {
        "snake": operations.cuda_snake(x, alpha, torch.float32),
        **_named("snake", operations.cuda_snake_gradients(grad, x, alpha)),
        "pair": operations.cuda_snake_depthwise(x, alpha, taps, bias, dilation, torch.float32),
        **_named("pair", operations.cuda_snake_depthwise_gradients(grad, x, grad, alpha, taps, dilation)),
    }
    of_pair = (of_pair[0] + grad, *of_pair[1:])  # of a unit's input, which the skip connection passes on
    wanted = {"snake": activated, **_named("snake", of_snake), "pair": convolved, **_named("pair", of_pair)}
    return {name: error_of(ours[name], wanted[name].detach()) for name in wanted}


def wide(channels: int) -> float:
    """Largest error of a Snake's gradients at many channels and few samples."""
    x, alpha, _, _, grad = _drawn(1, channels, 5)
    exact = [item.double().requires_grad_() for item in (x, alpha)]
    activated = exact[0] + (exact[1] * exact[0]).sin() ** 2 / (exact[1] + 1e-9)
    found = operations.cuda_snake_gradients(grad, x, alpha)
    pairs = zip(found, torch.autograd.grad(activated, exact, grad.double()), strict=True)
    return max(error_of(actual, wanted) for actual, wanted in pairs)


def proved() -> list[float]:
    """What a trial on a card tells, of the kernels as they are and of one that errs; fewer channels than there."""
    proof.CHANNELS, proof.LENGTH, proof.DILATIONS = 2, 2000, (9,)
    right = proof.largest_error(torch.device("cpu"))
    snake_of = functions.cuda_snake
    functions.cuda_snake = lambda x, alpha, dtype: snake_of(x, alpha, dtype) * 1.001
    wrong = proof.largest_error(torch.device("cpu"))
    functions.cuda_snake = snake_of
    return [right, wrong]


def _named(name: str, found: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Gradients by name, in the order x, alpha, taps, bias."""
    return {f"{name} by {of}": item for of, item in zip(("x", "alpha", "taps", "bias"), found, strict=False)}


def numbers() -> Figures:
    """Whether each result of what is no number is one."""
    x = torch.tensor([1.0, torch.nan, torch.inf, -torch.inf, 3e38]).view(1, 1, -1)
    alpha = torch.full((1, 1, 1), 2.0)
    y = operations.cuda_snake(x, alpha, torch.float32)
    grad_x, _ = operations.cuda_snake_gradients(torch.ones_like(x), x, alpha)
    far = torch.linspace(1e5, 1e9, 500).view(1, 1, -1)
    added = operations.cuda_snake(far, alpha, torch.float32) - far
    slopes, _ = operations.cuda_snake_gradients(torch.ones_like(far), far, alpha)
    return {
        "snake": y.isfinite().flatten().tolist(),
        "by x": grad_x.isfinite().flatten().tolist(),
        "far": [float(added.min()), float((added / far).max()), float(slopes.min()), float(slopes.max())],
    }


def types() -> Figures:
    """Types of results by type of the input under autocast and without it, against upstream's layers."""
    upstream, ours = _pair(lambda: ResidualUnit(2, dilation=1, groups=2))
    found = {}
    for name, dtype, autocast in (
        ("float32", torch.float32, False),
        ("wide", torch.float32, True),
        ("narrow", torch.bfloat16, True),
    ):
        results = [_results(layer, torch.randn(1, 2, 9, dtype=dtype), autocast) for layer in (upstream, ours)]
        found[name] = [[str(item.dtype) for item in items] for items in results]
    return found


def _pair(make: Any) -> tuple[nn.Module, nn.Module]:
    """Upstream's layers and ours, with the same weights."""
    torch.manual_seed(0)
    upstream = make()
    for module in upstream.modules():
        if isinstance(module, Snake1d):
            nn.init.uniform_(module.alpha, 0.3, 3.0)
    return upstream, use_fast_layers(copy.deepcopy(upstream))


def _results(layer: nn.Module, x: Tensor, autocast: bool = False) -> list[Tensor]:
    """Output and all gradients."""
    leaf = x.clone().requires_grad_()
    layer.zero_grad()
    same = mock.patch.object(torch, "randn", _same_noise)
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext(), same:
        y = layer(leaf)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y.dtype))
    return [y.detach(), leaf.grad, *(parameter.grad.clone() for parameter in layer.parameters())]


def _same_noise(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The noise of a noise block, the same numbers in every type."""
    return NOISE[..., : shape[-1]].expand(shape).to(dtype)


def narrow(make: Callable[[], nn.Module], channels: int, dtype: torch.dtype = torch.float32) -> Figures:
    """Layers under autocast: distance of upstream's and of our results from double precision; x is of `dtype`.

    Results of one number, the gain and the bias of an output layer, are left out: the error of one is chance.
    """
    upstream, ours = _pair(make)
    x = torch.randn(1, channels, 40).to(dtype)
    exact = _results(copy.deepcopy(upstream).double(), x.double())
    results = [_results(layer, x, autocast=True) for layer in (upstream, ours)]
    pairs = [[(a, b) for a, b in zip(items, exact, strict=True) if b.numel() > 1] for items in results]
    distances = [[float((a - b).norm() / b.norm()) for a, b in items] for items in pairs]
    single = [error_of(a, b) for a, b in zip(_results(ours, x.float()), exact, strict=True)]
    return {"upstream": distances[0], "ours": distances[1], "float32": max(single)}


def odd() -> Figures:
    """Inputs that are not contiguous, gradients that are one number expanded, nothing at all, and what is not asked."""
    x, alpha, taps, bias, _ = _drawn(2, 3, 70)
    point, none = torch.randn(3, 3, 1), torch.zeros(0, 3, 70)

    def unit(signal: Tensor, *weights: Tensor) -> Tensor:
        made: Tensor = UnitFunction.apply(signal, 3, torch.float32, *weights)
        return made

    weights = [item.clone().requires_grad_() for item in (alpha, taps, bias, alpha, point, bias)]
    plain = x.clone().requires_grad_()
    turned = x.transpose(0, 2).contiguous().requires_grad_()
    first = torch.autograd.grad(unit(plain, *weights).sum(), [plain, *weights])
    again = torch.autograd.grad(unit(turned.transpose(0, 2), *weights).sum(), [turned, *weights])
    same = [torch.equal(a, b) for a, b in zip(first[1:], again[1:], strict=True)]
    empty = torch.autograd.grad(unit(none.requires_grad_(), *weights).sum(), [none, *weights])
    frozen = [item.detach() for item in weights]
    asked = torch.autograd.grad(unit(plain, *frozen[:1], weights[1], *frozen[2:]).sum(), [weights[1]])
    for_x = torch.autograd.grad(unit(plain, *frozen).sum(), [plain])
    return {
        "turned": torch.equal(first[0], again[0].transpose(0, 2)) and all(same),
        "empty": [float(item.abs().sum()) for item in empty],
        "one": torch.equal(asked[0], first[2]) and torch.equal(for_x[0], first[0]),
    }


def compiled() -> Figures:
    """Whether a block compiled whole, eager and under autocast, gives what the interpreter of Python gives."""
    _, ours = _pair(lambda: DecoderBlock(4, 2, stride=2, noise=False, groups=2))
    traced = copy.deepcopy(ours)
    traced.compile(backend="aot_eager", fullgraph=True)
    x = torch.randn(1, 4, 30)
    found = {}
    for autocast in (False, True):
        plain, whole = (_results(layer, x, autocast) for layer in (ours, traced))
        found[str(autocast)] = max(error_of(a, b.double()) for a, b in zip(whole, plain, strict=True))
    _, ours = _pair(Ends)
    traced, x = copy.deepcopy(ours), torch.randn(1, 16, 30).bfloat16()
    traced.compile(backend="aot_eager", fullgraph=True)
    plain, whole = (_results(layer, x, autocast=True) for layer in (ours, traced))
    found["ends"] = max(error_of(a, b.double()) for a, b in zip(whole, plain, strict=True))
    return found


class Ends(nn.Module):
    """A noise block and an output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.noise, self.output = NoiseBlock(16), Output(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 16, T) -> (B, 1, T)."""
        made: Tensor = self.output(self.noise(x))
        return made


if __name__ == "__main__":
    main()
