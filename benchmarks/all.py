"""Every figure that a CPU can give, one file after the other, then the table; fails when one misses its floor.

make bench
"""

import os
import subprocess
import sys
import time

from benchmarks.harness import MARGIN, RESULTS, Figure
from snac_exp.system.files import read_json

FILES = ("step", "compiled", "loading", "losses", "loop", "lm_row", "gpu_traffic")


def main() -> int:
    """1 where a figure misses its floor by more than the margin, or a file failed."""
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    failed = []
    for name in FILES:
        command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *sys.argv[1:]]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(f"benchmarks/{name}.py failed")
    print()
    for row in read_json(RESULTS)["figures"].values():
        names = Figure.__dataclass_fields__
        figure = Figure(**{key: value for key, value in row.items() if key in names})
        print(figure.line())
        if figure.missed():
            failed.append(f"{figure.title}: {figure.value} misses {figure.floor} by more than {MARGIN:.0%}")
    print(f"\n{time.perf_counter() - started:.0f} s; {RESULTS}")
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
