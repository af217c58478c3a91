"""The GPU set: phase 12's main step, with kernels, without, compiled, and as upstream's modules; its memory.

    python -m benchmarks.gpu

Upstream's modules keep 176 GB at 43 x 4 s, so ways are compared at 16 x 4 s; ours alone is timed at 43 x 4 s. What does
not fit the card leaves its row empty with that reason. Says plainly that there is no GPU where none is.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from benchmarks.dual_head import DualHead
from benchmarks.gpu_traffic import TOKENS, count
from benchmarks.harness import Figure, options, record
from snac_exp.codec.fast.cuda.choice import choose_kernels, kernels_in_use, without_kernels

COMPARED, ALONE = 16, 43
ROWS = {
    "gpu_step": ("main step at 16 x 4 s, bfloat16 with kernels, against upstream's in float32", "x", "at_least", 3.0),
    "gpu_step_kernels": ("the same, against our bfloat16 step without kernels", "x", "at_least", 3.0),
    "gpu_step_compiled": ("the same, compiled, against not compiled", "x", "stated", None),
    "gpu_memory": ("main step at 43 x 4 s, bfloat16 with kernels, most memory", "GB", "at_most", 26.0),
    "gpu_audio": ("the same, audio-seconds per second", "", "stated", None),
}

Work = Callable[[], object]


def main() -> int:
    """Measure and record; 0 also where there is no GPU."""
    settings = options(__doc__)
    if not torch.cuda.is_available():
        print("no GPU here: the GPU rows of results.json stay empty")
        record({name: _row(name, None, reason="no GPU on this machine") for name in ROWS}, settings.results)
        return 0
    choose_kernels("auto", torch.device("cuda"))
    print(f"kernels: {kernels_in_use()}")
    record(_compared(settings.pairs) | _alone(settings.pairs), settings.results)
    return 0


def _compared(pairs: int) -> dict[str, Figure]:
    """Ratios of times, all ways by turns."""
    pair = _on_card(COMPARED)
    compiled = _on_card(COMPARED)
    compiled.task.compile_model()
    ways = {
        "plain": pair.plain_step,
        "library": lambda: _without_kernels(pair.step),
        "kernels": lambda: _narrow(pair.step),
        "compiled": lambda: _narrow(compiled.step),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    reasons = {}
    for number in range(pairs + 2):
        for name, work in ways.items():
            try:
                spent = _seconds(work)
            except torch.OutOfMemoryError:
                reasons[name] = f"{name}: out of memory at {COMPARED} x 4 s"
                continue
            if number >= 2:  # two to warm up
                times[name].append(spent)
    compared = {"gpu_step": ("plain", "kernels"), "gpu_step_kernels": ("library", "kernels")}
    compared["gpu_step_compiled"] = ("kernels", "compiled")
    return {row: _ratio(row, times, reasons, *names) for row, names in compared.items()}


def _ratio(row: str, times: dict[str, list[float]], reasons: dict[str, str], before: str, after: str) -> Figure:
    reason = reasons.get(before) or reasons.get(after)
    if reason is not None:
        return _row(row, None, reason=reason)
    median = statistics.median(one / other for one, other in zip(times[before], times[after], strict=True))
    seconds = {name: round(statistics.median(times[name]), 5) for name in (before, after)}
    return _row(row, round(median, 3), {"seconds": seconds, "kernels": kernels_in_use()})


def _alone(pairs: int) -> dict[str, Figure]:
    """Memory and speed of the large step, and how fast its counted bytes moved."""
    try:
        pair = _on_card(ALONE)
        spent = [_seconds(lambda: _narrow(pair.step)) for _ in range(pairs + 2)][2:]
    except torch.OutOfMemoryError:
        reason = f"out of memory at {ALONE} x 4 s"
        return {name: _row(name, None, reason=reason) for name in ("gpu_memory", "gpu_audio")}
    peak, seconds = torch.cuda.max_memory_allocated(), statistics.median(spent)
    moved = count("kernels_bf16", ALONE).moved
    details = {
        "seconds": round(seconds, 5),
        "kernels": kernels_in_use(),
        "counted_gb_per_second": moved / seconds / 1e9,
    }
    return {
        "gpu_memory": _row("gpu_memory", round(peak / 1e9, 2)),
        "gpu_audio": _row("gpu_audio", round(pair.batch.audio_seconds / seconds, 1), details),
    }


def _on_card(batch_size: int) -> DualHead:
    """Both models and a batch on the card, the memory of earlier ones given back."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    pair = DualHead.build(batch_size, TOKENS, fused=True)
    pair.naive.cuda(), pair.task.cuda()
    pair.batch = pair.batch.to("cuda")
    return pair


def _narrow(step: Work) -> object:
    with torch.autocast("cuda", dtype=torch.bfloat16):
        return step()


def _without_kernels(step: Work) -> object:
    with without_kernels():
        return _narrow(step)


def _seconds(work: Work) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def _row(name: str, value: float | None, details: dict[str, object] | None = None, reason: str | None = None) -> Figure:
    title, unit, bound, floor = ROWS[name]
    return Figure(f"GPU: {title}", value, unit, bound, floor, details or {}, reason)


if __name__ == "__main__":
    sys.exit(main())
