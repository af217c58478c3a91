"""`snac-exp board` over thousands of runs: the first look at all of them, further ones, what a new page is told, and
when it is painted.

python -m benchmarks.board [--runs 2000] [--pairs 5] [--results FILE]      about two minutes

A look is compared with `snac-exp status`, which reads every run anew. Pages are opened in headless Chromium.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.harness import RESULTS, Figure, compare, ratio, record, seconds
from benchmarks.simulated_runs import touch, write_runs
from snac_exp.board.index import Index
from snac_exp.status.overview import overview
from tests.helpers.board import shown
from tests.helpers.browser import opened_browser

_LOGGING = 16  # runs that log a line between two looks
_MARK_ROWS = """
new MutationObserver((_, observer) => {
  if (!document.querySelector('#rows tr')) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.rowsPainted = performance.now(); }, 0));
}).observe(document, { childList: true, subtree: true });
"""  # behind the frame that shows them


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


def painted(folder: Path, number: int, times: int) -> dict[str, Figure]:
    """Of pages that are opened while the board looks at its runs, from the click to what the browser shows."""
    first, rows = [], []
    with opened_browser(folder.parent) as browser, shown(folder, every_seconds=2.0) as board:
        board.rows()
        browser.command("Page.addScriptToEvaluateOnNewDocument", {"source": _MARK_ROWS})
        for _ in range(times):
            browser.open("about:blank")
            browser.open(board.address)
            rows.append(browser.wait("return window.rowsPainted") / 1000)
            first.append(
                browser.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
            )
    title, details = f"{number:,} runs on the board", {"runs": number, "pages": times, "clock": "wall"}

    def figure(of: str, found: list[float]) -> Figure:
        spread = {"lowest": round(min(found), 3), "highest": round(max(found), 3)}
        return Figure(f"{title}: {of}", round(statistics.median(found), 3), "s", "at_most", 1.0, details | spread)

    return {
        "board_first_paint": figure("first paint of a page", first),
        "board_rows_painted": figure("the table of the newest 100 painted", rows),
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
        runs = Path(folder) / "runs"
        record(figures(runs, options.runs, options.pairs), options.results)
        record(painted(runs, options.runs, options.pairs), options.results)


if __name__ == "__main__":
    main()
