"""Memory of prepare and cache-codes over millions of rows, and what a kill in the middle of each costs.

    python -m benchmarks.data_scale [--rows 2800000] [--folder DIR]      about 20 minutes, 3 GB of disk

Rows are names alone: what decoding a file and encoding its audio would give is made up, so that nothing but the size of
the tables counts. Each part is a process of its own; a peak is of all memory of that process, its imports included, but
for files that it has mapped: their pages are the system's, which takes them back. No part of `make bench`.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.harness import Figure

GIB = 1.86  # 2 GB: what either command may take
SHARD = 1000  # rows of a code cache: as many may be lost by a kill
SAMPLES, RATE = (3 * 24_000, 8 * 24_000), 24_000


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_800_000)
    parser.add_argument("--folder", type=Path, help="for what is written; default: a temporary one")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help="file that keeps the figures")
    settings = parser.parse_args()
    if settings.part:
        print(json.dumps(PARTS[settings.part](settings.folder, settings.rows)))
        return
    # Not in a part: it takes PyTorch along, which prepare does without.
    from benchmarks.harness import RESULTS, record

    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        found = {name: taken_up(name, Path(folder), settings.rows) for name in ("prepare", "cache")}
    record(figures(settings.rows, found), settings.results or RESULTS)


def taken_up(name: str, folder: Path, num_rows: int) -> dict[str, Any]:
    """What a part says that goes on where another process killed itself, and how many rows it did again."""
    done = int(part(f"{name}_killed", folder, num_rows, -signal.SIGKILL))
    found: dict[str, Any] = json.loads(part(name, folder, num_rows, 0))
    return found | {"lost": done - found["known"]}


def part(name: str, folder: Path, num_rows: int, status: int) -> str:
    """What a part in a process of its own prints; it ends with this status."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.data_scale", f"--part={name}"]
    ended = subprocess.run(
        [*command, f"--rows={num_rows}", f"--folder={folder}"], stdout=subprocess.PIPE, text=True, check=False
    )
    assert ended.returncode == status, f"{name} ended with {ended.returncode}"
    return ended.stdout


def killed_after(num_done: int) -> None:
    """End this process as kill -9 would, and say how many rows it has done."""
    print(num_done, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def figures(num_rows: int, found: dict[str, dict[str, Any]]) -> "dict[str, Figure]":
    """As rows of results.json."""
    from benchmarks.harness import Figure

    rows = f"{num_rows / 1e6:.1f} million rows"
    return {
        "scale_prepare_memory": Figure(
            f"{rows}: memory of prepare, taken up after a kill",
            found["prepare"]["peak"],
            "GiB",
            "at_most",
            GIB,
            found["prepare"],
        ),
        "scale_prepare_lost": Figure(
            f"{rows}: rows measured again after kill -9", found["prepare"]["lost"], "rows", "at_most", SHARD
        ),
        "scale_prepare_row": Figure(
            f"{rows}: prepare beside decoding", round(found["prepare"]["seconds"] / num_rows * 1e6), "us a row"
        ),
        "scale_cache_memory": Figure(
            f"{rows}: memory of cache-codes", found["cache"]["peak"], "GiB", "at_most", GIB, found["cache"]
        ),
        "scale_cache_lost": Figure(
            f"{rows}: rows encoded again after kill -9", found["cache"]["lost"], "rows", "at_most", SHARD
        ),
        "scale_cache_row": Figure(
            f"{rows}: cache-codes beside reading and encoding",
            round(found["cache"]["seconds"] / num_rows * 1e6),
            "us a row",
        ),
    }


def prepare_all(folder: Path, num_rows: int, kill_at: int | None = None) -> dict[str, Any]:
    """`snac-exp prepare`, decoding left out; `kill_at`: this process kills itself before that row."""
    from snac_exp.data.files import scan
    from snac_exp.data.files.levels import Levels
    from snac_exp.data.files.listing import Listed
    from snac_exp.data.measuring import journal, measuring
    from snac_exp.data.prepared.prepare import prepare
    from snac_exp.data.sources import opening

    num_measured = 0

    def measured(root: Path, rows: list[Listed]) -> list[scan.FileMeasurement]:
        nonlocal num_measured
        if num_measured == kill_at:
            killed_after(num_measured)
        num_measured += 1
        path, levels = rows[0].path, Levels(0.5, 0.5, 1000)
        sha1 = hashlib.sha1(path.encode(), usedforsecurity=False)
        length = SAMPLES[0] + int.from_bytes(sha1.digest()[:4], "little") % (SAMPLES[1] - SAMPLES[0])
        return [scan.FileMeasurement(path, 1, 1, None, RATE, 1, length, sha1.hexdigest(), levels)]

    opening.find_audio = lambda input_dir, skip: names(num_rows)  # type: ignore[attr-defined]
    measuring._measure_file = measured
    journal.stamp = lambda path: (1, 1)  # type: ignore[attr-defined]
    source = folder / "source"
    source.mkdir(exist_ok=True)
    with Cost() as cost:
        summary = prepare(source, folder / "prepared", num_workers=1)
    return {"known": summary.num_known, **cost.found}


def cache_all(folder: Path, num_rows: int, kill_at: int | None = None) -> dict[str, Any]:
    """`snac-exp cache-codes` by one process, reading and encoding left out; the check of all rows included.

    kill_at: this process kills itself once so many rows are encoded.
    """
    from snac_exp.codec.opening import open_codec
    from snac_exp.config.compose import compose_experiment
    from snac_exp.data.codes import cache
    from snac_exp.data.codes.device_pool import verified
    from snac_exp.data.codes.encoding import Work
    from snac_exp.data.prepared.manifest import Manifest

    experiment, _ = compose_experiment(["+experiment=phase12_dual_head", "codec=demo"], complete=False)
    codec = open_codec(experiment.codec, 0)

    def encoded(work: Iterable[Work], *others: Any) -> Iterator[tuple[Work, list[Any]]]:
        num_encoded = 0
        for batch in work:
            if kill_at is not None and num_encoded >= kill_at:
                killed_after(num_encoded)
            num_encoded += len(batch.rows)
            lengths = (codec.geometry.codebook_length(i, batch.num_coarse) for i in range(codec.geometry.num_codebooks))
            codes = [np.zeros(length, np.uint16) for length in lengths]
            yield batch, [codes] * len(batch.rows)

    cache.encode_all = encoded  # type: ignore[assignment, attr-defined]
    with Cost() as cost:
        summary = cache.cache_codes(Manifest.read(folder / "prepared"), codec, folder / "codes")
        assert verified(folder / "prepared", folder / "codes").startswith(f"complete: {num_rows} rows cached")
    return {"shards": summary.num_shards, "known": num_rows - summary.num_cached, **cost.found}


def names(num_rows: int) -> list[str]:
    """Paths below a folder of speakers, in order."""
    per_speaker = -(-num_rows // 5000)
    return [
        f"speaker{row // per_speaker:04d}/session{row // 100:06d}/utterance_{row:09d}.flac" for row in range(num_rows)
    ]


class Cost:
    """Seconds of a processor within a block, and the peak of this process's own memory in GiB."""

    def __enter__(self) -> "Cost":
        self._started, self._peak, self._ended = time.process_time(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def found(self) -> dict[str, float]:
        """Both."""
        seconds = time.process_time() - self._started
        return {"seconds": round(seconds, 1), "peak": round(self._peak / 2**20, 3)}

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            status = Path("/proc/self/status").read_text().splitlines()
            self._peak = max(self._peak, next(int(line.split()[1]) for line in status if line.startswith("RssAnon")))


PARTS = {
    "prepare_killed": lambda folder, num_rows: prepare_all(folder, num_rows, num_rows // 2),
    "prepare": prepare_all,
    "cache_killed": lambda folder, num_rows: cache_all(folder, num_rows, num_rows // 2 - 1),  # a shard is nearly whole
    "cache": cache_all,
}

if __name__ == "__main__":
    main()
