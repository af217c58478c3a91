"""Every figure that a CPU can give, one file after the other, then the tables of all processors.

make bench      fails when a figure of this processor misses its floor
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.harness import MARGIN, RESULTS, Figure, read_results
from snac_exp.system.environment import cpu_name

FILES = ("step", "compiled", "loading", "losses", "loop", "lm_row", "long_run", "streaming", "gpu_traffic")


def main() -> int:
    """1 where a figure misses its floor by more than the margin, or a file failed."""
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    failed = []
    for name in FILES:
        command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *sys.argv[1:]]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(f"benchmarks/{name}.py failed")
    results = read_results()
    for title, rows in {**results["processors"], "GPU": results["gpu"]}.items():
        print(f"\n{title}")
        here = title in (cpu_name(), "GPU")
        failed += [f"{title}: {missed}" for missed in show(rows) if here]
    print(f"\n{time.perf_counter() - started:.0f} s; {RESULTS}")
    print("\n".join(failed))
    return 1 if failed else 0


def show(rows: Mapping[str, Any]) -> list[str]:
    """Print a section of results.json; what misses its floor."""
    missed = []
    for row in rows.values():
        figure = Figure(**{key: value for key, value in row.items() if key in Figure.__dataclass_fields__})
        print(figure.line())
        if figure.missed():
            missed.append(f"{figure.title}: {figure.value} misses {figure.floor} by more than {MARGIN:.0%}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
