"""The layers as they train against upstream's: outputs and every gradient; what is kept; what stays bit for bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from snac.layers import DecoderBlock, NoiseBlock, ResidualUnit, WNConv1d
from torch import Tensor, nn

from snac_exp.codec.fast import tiles
from snac_exp.codec.fast.frozen_weights import weight_of
from tests.codec.layer_pairs import Output, pair_of

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "unit": lambda: ResidualUnit(6, dilation=1, groups=6),
    "dilated unit": lambda: ResidualUnit(6, dilation=9, groups=6),
    "wide unit": lambda: ResidualUnit(256, dilation=3, groups=256),
    "unit without groups": lambda: ResidualUnit(6, dilation=3),
    "block": lambda: DecoderBlock(8, 4, stride=3, noise=True, groups=4),
    "noise": lambda: NoiseBlock(6),
    "output": lambda: Output(6, 1),
    "two outputs": lambda: Output(6, 2),
}


def _pair(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return pair_of(LAYERS[name]())


def _results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    torch.manual_seed(1)
    leaf = x.clone().requires_grad_()
    y = layer(leaf)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y.dtype))
    assert leaf.grad is not None
    return [y.detach(), leaf.grad, *(parameter.grad for parameter in layer.parameters())]


_randn = torch.randn


def _randn_of_float32(*shape: Any, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    """The same draw in every type."""
    return _randn(*shape, **options).to(dtype or torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("length", [40, 1700])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_upstreams(name: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_TILE_ELEMENTS", 1)  # tiles of 512 samples: several, and edges between them
    """To 1e-5 of what upstream's layer gives in double precision; its own float32 sums stray as far."""
    upstream, fast = _pair(name)
    monkeypatch.setattr(torch, "randn", _randn_of_float32)  # the noise of both
    x = torch.randn(2, next(p.shape[1] for p in upstream.parameters() if p.shape[1] > 1), length)
    for expected, actual in zip(_results(upstream.double(), x.double()), _results(fast, x), strict=True):
        assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", LAYERS)
def test_without_a_graph_results_are_upstreams_bit_for_bit(name: str) -> None:
    upstream, fast = _pair(name)
    x = torch.randn(2, next(p.shape[1] for p in upstream.parameters() if p.shape[1] > 1), 300)
    outputs = []
    for layer in (upstream, fast):
        torch.manual_seed(1)
        with torch.no_grad():
            outputs.append(layer(x))
    assert torch.equal(*outputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dilated unit", "noise", "output"])
def test_gradients_are_right_in_double_precision(name: str) -> None:
    layer = _pair(name)[1].double()
    x = torch.randn(1, 6, 41, dtype=torch.float64, requires_grad=True)

    def function(signal: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(1)
        result: Tensor = layer(signal)
        return result

    assert torch.autograd.gradcheck(function, (x, *layer.parameters()))


@pytest.mark.parametrize("name", ["dilated unit", "output", "block"])
def test_frozen_parameters_get_no_gradient_and_the_rest_the_same(name: str) -> None:
    upstream, fast = _pair(name)
    for layer in (upstream, fast):
        for parameter in list(layer.parameters())[::2]:
            parameter.requires_grad_(False)
    x = torch.randn(2, 8 if name == "block" else 6, 300)
    for expected, actual in zip(_results(upstream, x), _results(fast, x), strict=True):
        assert (expected is None) == (actual is None)
        assert expected is None or (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_unit_keeps_its_input_alone() -> None:
    kept = {}
    for name, layer in zip(("upstream", "fast"), _pair("dilated unit"), strict=True):
        sizes: list[int] = []
        x = torch.randn(2, 6, 5000, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            layer(x)
        kept[name] = sum(size == x.numel() for size in sizes)
    assert kept["fast"] == 1
    assert kept["upstream"] > 6


def test_under_autocast_a_unit_computes_in_its_type() -> None:
    upstream, fast = _pair("unit without groups")
    x = torch.randn(2, 6, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = [_results(layer, x) for layer in (upstream, fast)]
    for expected, actual in zip(*results, strict=True):
        assert (actual - expected).abs().max() <= 3e-2 * expected.abs().max()


def test_weights_of_frozen_layers_follow_every_change() -> None:
    conv = WNConv1d(3, 4, kernel_size=5)
    conv.requires_grad_(False)
    first = weight_of(conv)
    assert weight_of(conv) is first
    with torch.no_grad():
        conv.parametrizations.weight.original0.mul_(2.0)
    assert torch.equal(weight_of(conv), conv.weight)
    assert not torch.equal(weight_of(conv), first)
    conv.load_state_dict({name: value + 1 for name, value in conv.state_dict().items()})
    assert torch.equal(weight_of(conv), conv.weight)
    conv.requires_grad_(True)
    assert weight_of(conv).requires_grad
