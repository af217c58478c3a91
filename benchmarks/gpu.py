"""The GPU set: phase 12's main step at 43 x 4 s against plain eager float32, its memory and its arithmetic.

    python -m benchmarks.gpu

Says plainly that there is no GPU where none is; the rows of results.json stay empty then.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from benchmarks.dual_head import DualHead
from benchmarks.harness import Figure, options, record

BATCH, TOKENS = 43, 46
ROWS = {
    "gpu_step": ("GPU: main step at 43 x 4 s, bf16 with float32 losses, against plain float32", "x", "at_least", 3.0),
    "gpu_memory": ("GPU: peak memory of the same, against plain float32", "x", "at_most", 0.5),
    "gpu_audio": ("GPU: audio-seconds per second of the main step", "", "stated", None),
}


def main() -> int:
    """Measure and record; 0 also where there is no GPU."""
    settings = options(__doc__)
    if not torch.cuda.is_available():
        print("no GPU here: the GPU rows of results.json stay empty")
        reason = "no GPU on this machine"
        record({name: Figure(*row, reason=reason) for name, row in _empty().items()}, settings.results)
        return 0
    pair = DualHead.build(BATCH, TOKENS, fused=True)
    pair.naive.cuda(), pair.task.cuda()
    pair.batch = pair.batch.to("cuda")

    def ours() -> object:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return pair.step()

    times, peaks = ([], []), [0, 0]
    for number in range(settings.pairs + 2):
        for which, work in enumerate((pair.plain_step, ours)):
            spent, peak = _measured(work)
            if number >= 2:
                times[which].append(spent)
            peaks[which] = peak
    speed = statistics.median(before / after for before, after in zip(*times, strict=True))
    audio = pair.batch.audio_seconds / statistics.median(times[1])
    values = {"gpu_step": speed, "gpu_memory": peaks[1] / peaks[0], "gpu_audio": audio}
    details = {"plain_bytes": peaks[0], "ours_bytes": peaks[1]}
    record({name: Figure(row[0], round(values[name], 3), *row[2:], details) for name, row in _empty().items()})
    return 0


def _empty() -> dict[str, tuple[str, None, str, str, float | None]]:
    return {name: (title, None, unit, bound, floor) for name, (title, unit, bound, floor) in ROWS.items()}


def _measured(work: Callable[[], object]) -> tuple[float, int]:
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started, torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    sys.exit(main())
