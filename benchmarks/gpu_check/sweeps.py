"""The kernels one by one: cut as the card likes it."""

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.gpu_check import kernels
from benchmarks.gpu_check.kernels import DILATIONS, Given
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.setting import Setting
from benchmarks.gpu_check.speed import stage
from snac_exp.codec.fast.cuda import mono, noise, operations, products

WIDTHS = {64: 94_208, 128: 47_104, 256: 11_776}
"""Channels of snac_24khz's blocks -> samples of 4 s there."""

Cut = dict[str, int]
"""Sizes of a kernel: samples of a program, its warps, channels of a product at a time, programs."""

Work = Callable[[], list[Tensor]]

SWEEPS = ("sweep_stretches", "sweep_products", "sweep_gradients", "sweep_ends")
"""Parts whose fastest cuts the step is timed with."""


def sweep_stretches(setting: Setting, report: Report) -> None:
    """Kernels without products, three that share their cut and the one that adds up: fastest in sum over widths."""
    cuts = _grid(TILE=(512, 1024, 2048, 4096), num_warps=(4, 8))
    signals = [_signal(setting, channels) for channels in (list(WIDTHS)[:1] if setting.small else WIDTHS)]
    dilations = DILATIONS[::2][: 1 if setting.small else None]

    def work() -> list[Tensor]:
        results = []
        for given in signals:
            results.append(operations.cuda_snake(given.x, given.alpha, given.dtype))
            results += operations.cuda_snake_gradients(given.grad, given.x, given.alpha)
            results += [kernels.depthwise(given, dilation) for dilation in dilations]
        return results

    def sums() -> list[Tensor]:
        found = (kernels.depthwise_gradients(given, dilation) for given in signals for dilation in dilations)
        return [result for results in found for result in results]

    _sweep(setting, report, "stretches", cuts, operations.CUT, work)
    _sweep(setting, report, "sums", cuts, operations.SUMS, sums)


def sweep_products(setting: Setting, report: Report) -> None:
    """Halves of units of every width, forward."""
    cuts = _grid(CHUNK=(32, 64), TILE=(32, 64, 128), num_warps=(4, 8))
    for channels in _widths(setting, products.FORWARD):
        given, fitting = _signal(setting, channels), [cut for cut in cuts if cut["CHUNK"] <= channels]
        name, table = f"forward {channels}", products.FORWARD[channels]
        _sweep(setting, report, name, fitting, table, partial(kernels.pointwise, given))


def sweep_gradients(setting: Setting, report: Report) -> None:
    """Halves of units of every width, backward; and the number of programs, of all widths together."""
    cuts = _grid(TILE=(16, 32, 64), num_warps=(4, 8))
    for channels in _widths(setting, products.BACKWARD):
        given = _signal(setting, channels)
        name, table = f"backward {channels}", products.BACKWARD[channels]
        _sweep(setting, report, name, cuts, table, partial(kernels.pointwise_gradients, given))
    signals = [_signal(setting, channels) for channels in _widths(setting, products.BACKWARD)]

    def work() -> list[Tensor]:
        return [result for given in signals for result in kernels.pointwise_gradients(given)]

    _sweep(setting, report, "programs", _grid(most=(132, 264, 528, 1056)), products.PROGRAMS, work)


def sweep_ends(setting: Setting, report: Report) -> None:
    """Noise blocks and output layers, forward and backward, at the widths that cost most."""
    for channels in [16] if setting.small else [64, 128]:
        given = _signal(setting, channels)
        works: dict[str, tuple[dict[str, Any], list[Cut], Work]] = {
            "noise forward": (noise.FORWARD[channels], _grid(TILE=(64, 128, 256), num_warps=(4, 8)),
                              partial(kernels.noisy, given)),
            "noise backward": (noise.BACKWARD[channels], _grid(TILE=(32, 64, 128), num_warps=(4, 8)),
                               partial(kernels.noise_gradients, given)),
            "output forward": (mono.FORWARD[channels], _grid(WIDE=(128, 256, 512), num_warps=(4, 8)),
                               partial(kernels.output, given)),
            "output backward": (mono.BACKWARD[channels], _grid(TILE=(32, 64, 128), num_warps=(4, 8)),
                                partial(kernels.output_gradients, given)),
        }  # fmt: skip
        for name, (table, cuts, work) in works.items():
            kept = {key: value for key, value in table.items() if key == "CHUNK"}
            _sweep(setting, report, f"{name} {channels}", [kept | cut for cut in cuts], table, work)


def _grid(**sizes: tuple[int, ...]) -> list[Cut]:
    """Every combination."""
    return [dict(zip(sizes, values, strict=True)) for values in itertools.product(*sizes.values())]


def _widths(setting: Setting, table: Mapping[int, Any]) -> list[int]:
    return [16] if setting.small else [channels for channels in WIDTHS if channels in table]


def _signal(setting: Setting, channels: int) -> Given:
    """As a batch of 43 x 4 s has it there."""
    batch, length = (1, 70) if setting.small else (43, WIDTHS[channels])
    dtype = torch.bfloat16 if setting.on_cuda else torch.float16
    return Given(setting.device, batch, 16 if setting.small else channels, length, dtype)


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
    tables = {"stretches": operations.CUT, "sums": operations.SUMS, "programs": products.PROGRAMS}
    for prefix, module in (("", products), ("noise ", noise), ("output ", mono)):
        for way, of_width in (("forward", module.FORWARD), ("backward", module.BACKWARD)):
            tables |= {f"{prefix}{way} {channels}": table for channels, table in of_width.items()}
    found = {}
    with ExitStack() as stack:
        for part in SWEEPS:
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
