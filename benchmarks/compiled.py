"""The training step of phase 12, compiled, against the plain step; and what compiling costs, cold and from the disk.

    python -m benchmarks.compiled [--pairs 5]

Trunk and heads are compiled once per segment length; PyTorch keeps the kernels on the disk, so a second run of the same
shapes starts in a fraction of the time. Needs a C++ compiler.
"""

import shutil
import time

from benchmarks.dual_head import DualHead
from benchmarks.harness import Figure, compare, options, ratio, record

TITLE = "training step, main phase, compiled, against the plain step"


def main() -> None:
    """Measure and record."""
    settings = options(__doc__)
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        empty = Figure(TITLE, None, "x", "at_least", 2.2, reason="no C++ compiler on this machine")
        record({"step_main_compiled": empty}, settings.results)
        return
    pair = DualHead.build()
    pair.task.compile_model()
    started = time.perf_counter()
    pair.step()
    first = time.perf_counter() - started
    found = compare(pair.plain_step, pair.step, settings.pairs, 1)
    details = {"first_step_seconds": round(first, 1)}
    record({"step_main_compiled": ratio(TITLE, found, 2.2, **details)}, settings.results)


if __name__ == "__main__":
    main()
