"""`snac-exp board` over thousands of runs: the first look at all of them, further ones, and what a new page is told.

python -m benchmarks.board [--runs 2000] [--pairs 5] [--results FILE]      about two minutes

A look is compared with `snac-exp status`, which reads every run anew.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.harness import RESULTS, Figure, compare, ratio, record, seconds
from benchmarks.simulated_runs import touch, write_runs
from snac_exp.board.index import Index
from snac_exp.status.overview import overview

_LOGGING = 16  # runs that log a line between two looks


def figures(folder: Path, number: int, pairs: int) -> dict[str, Figure]:
    """Of the index, without a browser."""
    paths = write_runs(folder, number)
    index = Index(folder)
    first = seconds(index.refresh)
    running = [path for path in paths if path.parent.parent.name != "rates"][:_LOGGING]

    def look() -> None:
        for path in running:
            touch(path, 1)
        index.refresh()

    time.sleep(2.0)  # folders that were just written are looked through once more
    found = compare(lambda: overview(folder), look, pairs, warmup=1)
    title = f"{number:,} runs on the board"
    told = seconds(lambda: json.dumps(index.changes("", ["val/objective"])), time.perf_counter)
    details = {"runs": number, "logging": _LOGGING}
    return {
        "board_look": ratio(f"{title}: a look while {_LOGGING} log, against snac-exp status", found, 10.0, **details),
        "board_first_look": Figure(f"{title}: the first look, all files read", round(first, 2), "s", details=details),
        "board_told": Figure(
            f"{title}: all rows to a new page", round(1000 * told, 1), "ms", "at_most", 500, details=details
        ),
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="that are simulated")
    parser.add_argument("--pairs", type=int, default=5, help="pairs that the median is taken over")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that keeps the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        record(figures(Path(folder), options.runs, options.pairs), options.results)


if __name__ == "__main__":
    main()
