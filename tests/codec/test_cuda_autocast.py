"""Types that layers get and give under CUDA's autocast, told on a CPU.

CPU's autocast narrows what CUDA's narrows of these layers but for one function, `torch.convolution`, which it leaves
alone and upstream's layers do not call. Narrowed here too, our layers must hand the library the types that upstream's
hand it, forward and backward. The kernels' types need no numbers: tensors without data will do.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from snac.layers import DecoderBlock, NoiseBlock, ResidualUnit
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.traffic import cuda_autocast
from snac_exp.codec.fast import depthwise, layers, snake, snake_conv
from snac_exp.codec.fast.cuda import choice
from tests.codec.layer_pairs import Output, pair_of

NARROW, WIDE = torch.bfloat16, torch.float32

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "unit": lambda: ResidualUnit(8, dilation=3, groups=8),
    "wide unit": lambda: ResidualUnit(64, dilation=1, groups=64),
    "unit without groups": lambda: ResidualUnit(8, dilation=3),
    "block": lambda: DecoderBlock(8, 4, stride=2, noise=True, groups=4),
    "noise": lambda: NoiseBlock(8),
    "output": lambda: Output(8, 1),
    "wide noise": lambda: NoiseBlock(64),
    "wide output": lambda: Output(64, 1),
}


class Convolutions(TorchDispatchMode):
    """Counts convolutions that reach the library by the types of their tensors: those they take, those they give."""

    def __init__(self) -> None:
        super().__init__()
        self.types: Counter[tuple[str, ...]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in (torch.ops.aten.convolution, torch.ops.aten.convolution_backward):
            given = result if isinstance(result, tuple) else (result,)
            told = (str(item.dtype) for item in (*args, *given) if isinstance(item, Tensor))
            self.types[(func._overloadpacket.__name__, *told)] += 1
        return result


@contextmanager
def _narrowing() -> Iterator[None]:
    """Autocast to bfloat16 that narrows `torch.convolution` too."""
    convolution = torch.convolution

    def narrowed(x: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            x, weight = x.to(NARROW), weight.to(NARROW)
            bias = None if bias is None else bias.to(NARROW)
        return convolution(x, weight, bias, *settings)

    with mock.patch.object(torch, "convolution", narrowed), torch.autocast("cpu", NARROW):
        yield


@pytest.fixture
def _no_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of what a CPU alone has."""
    monkeypatch.setattr(layers, "in_tiles", lambda x: False)
    for module in (snake, snake_conv):
        monkeypatch.setattr(module, "in_loops", lambda *tensors: False)
    monkeypatch.setattr(depthwise._FastOnCpu, "_conv_forward", nn.Conv1d._conv_forward)


def _pair(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return pair_of(LAYERS[name]())


def _channels(name: str) -> int:
    return 64 if name.startswith("wide") else 8


def _results(layer: nn.Module, x: Tensor, autocast: Any) -> list[Tensor]:
    """Output and all gradients."""
    torch.manual_seed(1)
    leaf = x.clone().requires_grad_()
    with autocast:
        y = layer(leaf)
    y.backward(torch.ones_like(y))
    assert leaf.grad is not None
    return [y.detach(), leaf.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("dtype", [WIDE, NARROW])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.usefixtures("_no_loops")
def test_eager_layers_hand_the_library_upstreams_types(name: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, _channels(name), 24).to(dtype)
    counted, results = [], []
    for layer in _pair(name):
        with Convolutions() as convolutions:
            results.append(_results(layer, x, _narrowing()))
        counted.append(convolutions.types)
    assert sum(counted[0].values()) > 0
    assert counted[1] == counted[0]
    assert all(str(WIDE) not in told for told in counted[1])
    upstream, ours = results
    assert [item.dtype for item in ours] == [item.dtype for item in upstream]
    torch.testing.assert_close(ours[0], upstream[0], rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize("dtype", [WIDE, NARROW])
@pytest.mark.parametrize("name", LAYERS)
def test_kernels_give_upstreams_types(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice._choice, "devices", {"meta"})
    x = torch.empty(2, _channels(name), 24, dtype=dtype, device="meta")
    with cuda_autocast() as autocast:
        upstream, ours = (_results(layer.to("meta"), x, autocast("meta", dtype=NARROW)) for layer in _pair(name))
    assert [item.dtype for item in ours] == [item.dtype for item in upstream]
    assert [item.shape for item in ours] == [item.shape for item in upstream]
