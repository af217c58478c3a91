"""Memory of the whole of `prepare` over rows of a list and of tars: listed, measured, split and written.

    python -m benchmarks.prepare_scale [--rows 700000] [--folder DIR]      about 15 minutes, 3 GB of disk

What decoding would give is made up, as in data_scale. Peaks of `--rows` rows and of 3/7 of them lead to that of 2.8
million, each of a process of its own, its imports included. No part of `make bench`.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.data_scale import GIB, RATE, Cost
from benchmarks.data_sources import MANY, write_manifest, write_tars

if TYPE_CHECKING:
    from benchmarks.harness import Figure
    from snac_exp.data.files.listing import Listed
    from snac_exp.data.files.scan import FileMeasurement

SOURCES: dict[str, Callable[[Path, int], Path]] = {"jsonl": write_manifest, "tar": write_tars}
FILE_SECONDS, ROW_SECONDS = 3000, 4.5  # of a long file of the list, and of every row


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=700_000)
    parser.add_argument("--folder", type=Path, help="for what is written; default: a temporary one")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help="file that keeps the figures")
    settings = parser.parse_args()
    if settings.prepare:
        print(json.dumps(prepared(settings.prepare)))
        return
    # Not in a part: it takes PyTorch along, which prepare does without.
    from benchmarks.harness import RESULTS, record

    for kind in SOURCES:
        with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
            record({f"scale_prepare_memory_{kind}": figure(kind, Path(folder), settings.rows)},
                   settings.results or RESULTS)  # fmt: skip


def figure(kind: str, folder: Path, num_rows: int) -> "Figure":
    """Of one kind of source."""
    from benchmarks.harness import Figure

    fewer, all_rows = (cost_of(kind, folder / f"{rows}", rows) for rows in (3 * num_rows // 7, num_rows))
    a_row = (all_rows["peak"] - fewer["peak"]) / (all_rows["rows"] - fewer["rows"])
    value = all_rows["peak"] + a_row * (MANY - num_rows)
    title = f"2.8 million rows: memory of the whole of prepare, {kind}, by {num_rows:,}"
    details = all_rows | {"fewer": fewer, "kB_a_row": round(a_row * 2**20, 3)}
    return Figure(title, round(value, 2), "GiB", "at_most", GIB, details)


def cost_of(kind: str, folder: Path, num_rows: int) -> dict[str, Any]:
    """What preparing so many rows takes, in a process of its own."""
    folder.mkdir()
    source = SOURCES[kind](folder, num_rows)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.prepare_scale", f"--prepare={source}"]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def prepared(source: Path) -> dict[str, Any]:
    """`snac-exp prepare` of a source by one process, decoding left out."""
    from snac_exp.data.measuring import measuring
    from snac_exp.data.prepared.prepare import prepare

    measuring._measure_file = made_up
    with Cost() as cost:
        summary = prepare(source, source.with_name(f"{source.name}.prepared"), num_workers=1)
    assert summary.rejected == {}
    return {"rows": sum(summary.num_rows.values()), **cost.found}


def made_up(root: Path, rows: "list[Listed]") -> "list[FileMeasurement]":
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
