"""The row of the token loader: runs benchmarks/lm_loader.py for files of ten minutes and records its ratio.

python -m benchmarks.lm_row
"""

import re
import subprocess
import sys

from benchmarks.harness import Figure, options, record

TITLE = "token windows of 10-minute files, against a whole file per window"


def main() -> None:
    """Measure and record."""
    settings = options(__doc__, pairs=7)
    command = [sys.executable, "-m", "benchmarks.lm_loader", "--minutes", "10", "--pairs", str(settings.pairs)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"ratio ([\d.]+)x \(([\d.]+) to ([\d.]+)", said)
    if found is None:
        raise SystemExit(f"benchmarks/lm_loader.py said something else: {said}")
    details = {"lowest": float(found[2]), "highest": float(found[3]), "clock": "wall", "pairs": settings.pairs}
    record({"lm_loader": Figure(TITLE, float(found[1]), "x", "at_least", 20.0, details)}, settings.results)


if __name__ == "__main__":
    main()
