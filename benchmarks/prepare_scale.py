"""Memory of the whole of `prepare` over 2.8 million rows of a list and of tars, and what a kill in the middle costs.

    python -m benchmarks.prepare_scale [--rows 2800000] [--folder DIR]      about an hour, 6 GB of disk

What decoding would give is made up, as in data_scale. The list is prepared by a process that kills itself with SIGKILL
once half of the rows are measured, and by a second one that goes on; tars, which take long to list, by one. A peak is
of all memory of the process that finishes, its imports included. No part of `make bench`.
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.data_scale import GIB, RATE, SHARD, Cost, killed_after
from benchmarks.data_sources import MANY, write_manifest, write_tars

if TYPE_CHECKING:
    from benchmarks.harness import Figure
    from snac_exp.data.files.listing import Listed
    from snac_exp.data.files.scan import FileMeasurement

SOURCES: dict[str, Callable[[Path, int], Path]] = {"jsonl": write_manifest, "tar": write_tars}
KILLED = ("jsonl",)
FILE_SECONDS, ROW_SECONDS = 3000, 4.5  # of a long file of the list, and of every row


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=MANY)
    parser.add_argument("--folder", type=Path, help="for what is written; default: a temporary one")
    parser.add_argument("--kind", choices=SOURCES, action="append", help="of source; default: all")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kill-at", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help="file that keeps the figures")
    settings = parser.parse_args()
    if settings.prepare:
        print(json.dumps(prepared(settings.prepare, settings.kill_at)))
        return
    # Not in a part: it takes PyTorch along, which prepare does without.
    from benchmarks.harness import RESULTS, record

    for kind in settings.kind or SOURCES:
        with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
            record(figures(kind, Path(folder), settings.rows), settings.results or RESULTS)


def figures(kind: str, folder: Path, num_rows: int) -> "dict[str, Figure]":
    """Of one kind of source."""
    from benchmarks.harness import Figure

    (folder / "source").mkdir()
    source = SOURCES[kind](folder / "source", num_rows)
    killed = part(source, -signal.SIGKILL, f"--kill-at={num_rows // 2}") if kind in KILLED else None
    found = json.loads(part(source, 0))
    title = f"{num_rows / 1e6:.1f} million rows: memory of the whole of prepare, {kind}"
    if killed is None:
        return {f"scale_prepare_memory_{kind}": Figure(title, found["peak"], "GiB", "at_most", GIB, found)}
    title += ", taken up after a kill"
    lost = f"{num_rows / 1e6:.1f} million rows: rows measured again after kill -9, {kind}"
    return {
        f"scale_prepare_memory_{kind}": Figure(title, found["peak"], "GiB", "at_most", GIB, found),
        f"scale_prepare_lost_{kind}": Figure(lost, int(killed) - found["known"], "rows", "at_most", SHARD),
    }


def part(source: Path, status: int, *options: str) -> str:
    """What preparing a source in a process of its own prints; it ends with this status."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.prepare_scale", f"--prepare={source}", *options]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == status, ended.returncode
    return ended.stdout


def prepared(source: Path, kill_at: int | None = None) -> dict[str, Any]:
    """`snac-exp prepare` of a source by one process, decoding left out; the source's files never change.

    kill_at: this process kills itself once so many rows are measured, and prints how many are.
    """
    from snac_exp.data.measuring import journal, measuring
    from snac_exp.data.prepared.prepare import prepare

    num_measured = 0

    def measured(root: Path, rows: "list[Listed]") -> "list[FileMeasurement]":
        nonlocal num_measured
        if kill_at is not None and num_measured >= kill_at:
            killed_after(num_measured)
        num_measured += len(rows)
        return made_up(rows)

    measuring._measure_file = measured
    journal.stamp = lambda path: (1, 1)  # type: ignore[attr-defined]
    with Cost() as cost:
        summary = prepare(source, source.with_name(f"{source.name}.prepared"), num_workers=1)
    assert summary.rejected == {}
    return {"rows": sum(summary.num_rows.values()), "known": summary.num_known, **cost.found}


def made_up(rows: "list[Listed]") -> "list[FileMeasurement]":
    """Measurements of the rows of a file that is not there."""
    from snac_exp.data.files.levels import Levels
    from snac_exp.data.files.scan import FileMeasurement

    def one(row: "Listed") -> FileMeasurement:
        start, num = round(row.offset * RATE), round(ROW_SECONDS * RATE)
        sha1 = hashlib.sha1(row.path.encode(), usedforsecurity=False).hexdigest()
        segment = None if row.duration is None else (start, start + num, FILE_SECONDS * RATE)
        return FileMeasurement(row.path, 1, 1, None, RATE, 1, num, sha1, Levels(0.5, 0.5, 1000), row.asked, segment)

    return [one(row) for row in rows]


if __name__ == "__main__":
    main()
