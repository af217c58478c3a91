"""The kernels one by one: right against double precision, and cut as the card likes it."""

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.setting import Setting
from benchmarks.gpu_check.speed import stage
from snac_exp.codec.fast.cuda import operations, products

TOLERATED = {torch.float32: 1e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}
"""Largest error over the largest value: half a unit in the last place of what is rounded, and as much again."""

DILATIONS, TAPS = (1, 3, 9), 7
WIDTHS = {64: 94_208, 128: 47_104, 256: 11_776}
"""Channels of snac_24khz's blocks -> samples of 4 s there."""

Cut = dict[str, int]
"""Sizes of a kernel: samples of a program, its warps, channels of a product at a time, programs."""

Work = Callable[[], list[Tensor]]


def exact(setting: Setting, report: Report) -> None:
    """Every kernel in every type, several widths and dilations, against the library in double precision."""
    widths, batch, length = ((16,), 1, 140) if setting.small else ((16, 64, 128, 256), 2, 3001)
    # The interpreter on a CPU multiplies the bits of bfloat16, not its numbers.
    types = tuple(TOLERATED) if setting.on_cuda else (torch.float32, torch.float16)
    for channels, dtype in itertools.product(widths, types):
        given = _Given(setting.device, batch, channels, length, dtype)
        worst: dict[str, float] = {}
        for dilation in DILATIONS if not setting.small else (9,):
            for name, (found, wanted) in _pairs(given, dilation).items():
                error = float((found.double() - wanted).abs().max() / wanted.abs().max())
                worst[name] = max(worst.get(name, 0.0), error)
        for name, error in worst.items():
            report.expect(f"{name} {channels} {str(dtype)[6:]}", error, at_most=TOLERATED[dtype])


class _Given:
    """Drawn inputs: signals (B, C, T) of a type, parameters in float32, alphas as trained ones: not near zero."""

    def __init__(self, device: torch.device, batch: int, channels: int, length: int, dtype: torch.dtype) -> None:
        draws = torch.Generator().manual_seed(channels)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draws).to(device)

        self.dtype = dtype
        self.x, self.grad = (drawn(1, channels, length).expand(batch, -1, -1).to(dtype).contiguous() for _ in range(2))
        self.alpha = drawn(1, channels, 1).abs() + 0.3
        self.taps, self.bias = drawn(channels, 1, TAPS), drawn(channels)
        self.point = drawn(channels, channels, 1) / channels

    @property
    def fused(self) -> bool:
        """Whether the second half of a unit is a kernel in this type and width."""
        return self.dtype in products.NARROW and len(self.point) in products.FORWARD


def _pairs(given: _Given, dilation: int) -> dict[str, tuple[Tensor, Tensor]]:
    """What each kernel gives and what is exact."""
    x, alpha, taps, bias = (item.double().requires_grad_() for item in (given.x, given.alpha, given.taps, given.bias))
    grad = given.grad.double()
    activated = _snake(x, alpha)
    padding = TAPS // 2 * dilation
    convolved = F.conv1d(activated, taps, bias, padding=padding, dilation=dilation, groups=len(taps))
    found = {
        "snake": [operations.cuda_snake(given.x, given.alpha, given.dtype)],
        "snake_gradients": operations.cuda_snake_gradients(given.grad, given.x, given.alpha),
        "depthwise": [_depthwise(given, dilation)],
        "depthwise_gradients": _depthwise_gradients(given, dilation),
    }
    wanted = {
        "snake": [activated],
        "snake_gradients": torch.autograd.grad(activated, (x, alpha), grad, retain_graph=True),
        "depthwise": [convolved],
        "depthwise_gradients": torch.autograd.grad(convolved, (x, alpha, taps, bias), grad),
    }
    if given.fused:
        point = given.point.to(given.dtype).double().requires_grad_()
        summed = given.x.double() + F.conv1d(_snake(x, alpha), point, bias)
        found["pointwise"], wanted["pointwise"] = [_pointwise(given)], [summed]
        if len(given.point) in products.BACKWARD:
            found["pointwise_gradients"] = _pointwise_gradients(given)
            wanted["pointwise_gradients"] = torch.autograd.grad(summed, (x, alpha, point, bias), grad)
    return {
        f"{name}[{place}]": (one, other.detach())
        for name in found
        for place, (one, other) in enumerate(zip(found[name], wanted[name], strict=True))
    }


def _snake(x: Tensor, alpha: Tensor) -> Tensor:
    return x + (alpha * x).sin() ** 2 / (alpha + 1e-9)


def _depthwise(given: _Given, dilation: int) -> Tensor:
    return operations.cuda_snake_depthwise(given.x, given.alpha, given.taps, given.bias, dilation, given.dtype)


def _depthwise_gradients(given: _Given, dilation: int) -> tuple[Tensor, ...]:
    return operations.cuda_snake_depthwise_gradients(given.grad, given.x, None, given.alpha, given.taps, dilation)


def _pointwise(given: _Given) -> list[Tensor]:
    return [products.cuda_snake_pointwise(given.x, given.x, given.alpha, given.point, given.bias)]


def _pointwise_gradients(given: _Given) -> list[Tensor]:
    return list(products.cuda_snake_pointwise_gradients(given.grad, given.x, given.alpha, given.point))


def sweep_stretches(setting: Setting, report: Report) -> None:
    """The four kernels without products, which share their cut: the one that is fastest in sum over widths."""
    cuts = [{"TILE": tile, "num_warps": warps} for tile in (512, 1024, 2048, 4096) for warps in (4, 8)]
    signals = [_signal(setting, channels) for channels in (list(WIDTHS)[:1] if setting.small else WIDTHS)]

    def work() -> list[Tensor]:
        results = []
        for given in signals:
            results.append(operations.cuda_snake(given.x, given.alpha, given.dtype))
            results += operations.cuda_snake_gradients(given.grad, given.x, given.alpha)
            for dilation in DILATIONS[::2][: 1 if setting.small else None]:
                results += [_depthwise(given, dilation), *_depthwise_gradients(given, dilation)]
        return results

    _sweep(setting, report, "stretches", cuts, operations.CUT, work)


def sweep_products(setting: Setting, report: Report) -> None:
    """Products of every width, forward."""
    tiles, chunks = (32, 64, 128), (32, 64)
    for channels in _widths(setting, products.FORWARD):
        given = _signal(setting, channels)
        cuts = [
            {"CHUNK": chunk, "TILE": tile, "num_warps": warps}
            for chunk, tile, warps in itertools.product(chunks, tiles, (4, 8))
            if chunk <= channels
        ]
        _sweep(setting, report, f"forward {channels}", cuts, products.FORWARD[channels], partial(_pointwise, given))


def sweep_gradients(setting: Setting, report: Report) -> None:
    """Products of every width, backward; and the number of programs, of all widths together."""
    tiles = (16, 32, 64)
    for channels in _widths(setting, products.BACKWARD):
        given = _signal(setting, channels)
        cuts = [{"TILE": tile, "num_warps": warps} for tile, warps in itertools.product(tiles, (4, 8))]
        name, table = f"backward {channels}", products.BACKWARD[channels]
        _sweep(setting, report, name, cuts, table, partial(_pointwise_gradients, given))
    signals = [_signal(setting, channels) for channels in _widths(setting, products.BACKWARD)]
    cuts = [{"most": number} for number in (132, 264, 528, 1056)]

    def work() -> list[Tensor]:
        return [result for given in signals for result in _pointwise_gradients(given)]

    _sweep(setting, report, "programs", cuts, products.PROGRAMS, work)


def _widths(setting: Setting, table: Mapping[int, Any]) -> list[int]:
    return [16] if setting.small else [channels for channels in WIDTHS if channels in table]


def _signal(setting: Setting, channels: int) -> _Given:
    """As a batch of 43 x 4 s has it there."""
    batch, length = (1, 70) if setting.small else (43, WIDTHS[channels])
    dtype = torch.bfloat16 if setting.on_cuda else torch.float16
    return _Given(setting.device, batch, 16 if setting.small else channels, length, dtype)


def _sweep(
    setting: Setting,
    report: Report,
    name: str,
    cuts: list[Cut],
    table: dict[str, Any],
    work: Callable[[], list[Tensor]],
) -> None:
    """Time the work with every cut in place of the table's; tells all times, and the fastest with the one in use.

    A cut that gives other results than the one in use counts as a failure of it.

    Raises:
        RuntimeError: not even the cut in use works.
    """
    used = dict(table)
    wanted = _lengths(work())
    times: dict[str, float | str] = {}
    for cut in [used, *(cut for cut in cuts[: 1 if setting.small else None] if cut != used)]:
        with mock.patch.dict(table, cut, clear=True):
            try:
                torch.testing.assert_close(_lengths(work()), wanted, rtol=1e-2, atol=0)
                times[_written(cut)] = 1e3 * _median(setting, work)
            except Exception as error:  # more shared memory or registers than there are, or wrong
                times[_written(cut)] = f"{type(error).__name__}: {error}"[:120]
        report.tell(**{f"{name} ms": dict(times)})
    timed = {cut: ms for cut, ms in times.items() if isinstance(ms, float)}
    if _written(used) not in timed:
        raise RuntimeError(f"{name}: {times[_written(used)]}")
    best = min(timed, key=lambda cut: timed[cut])
    report.tell(**{f"{name} best": _read(best), f"{name} gain": timed[_written(used)] / timed[best]})


def _lengths(results: list[Tensor]) -> Tensor:
    return torch.stack([item.norm(dtype=torch.float32) for item in results])


def _median(setting: Setting, work: Work) -> float:
    repeats = 1 if setting.small else 10
    return statistics.median(setting.seconds(work) for _ in range(repeats))  # it was called before


def _written(cut: Cut) -> str:
    return " ".join(f"{name}={value}" for name, value in cut.items())


def _read(text: str) -> Cut:
    return {name: int(value) for name, value in (item.split("=") for item in text.split())}


@contextmanager
def best_cuts(setting: Setting) -> Iterator[dict[str, Cut]]:
    """The kernels cut as the sweeps of this call found fastest; what no sweep found stays."""
    tables = {"stretches": operations.CUT, "programs": products.PROGRAMS}
    tables |= {f"forward {channels}": table for channels, table in products.FORWARD.items()}
    tables |= {f"backward {channels}": table for channels, table in products.BACKWARD.items()}
    found = {}
    with ExitStack() as stack:
        for part in ("sweep_stretches", "sweep_products", "sweep_gradients"):
            for name, cut in setting.found(part).items():
                if name.endswith(" best"):
                    found[name.removesuffix(" best")] = cut
                    stack.enter_context(mock.patch.dict(tables[name.removesuffix(" best")], cut, clear=True))
        yield found


def best_stage(setting: Setting, report: Report) -> None:
    """The largest stage of phase 12 with the fastest cuts."""
    with best_cuts(setting) as found:
        report.tell(cuts=found)
        stage("d", setting, report)
