"""A code cache of millions of rows: conversion to the mapped file, opening, random rows, memory of many workers.

    python benchmarks/code_cache_scale.py [--rows 340000] [--files 286] [--folder DIR] [--keep]
    python benchmarks/code_cache_scale.py --rows 3400000 --files 2857       full size: about 7 GB of disk at its peak

Rows are 3 to 8 s of snac_24khz codes, drawn at random; --templates different shards are made and copied, since zstd
finds nothing to compress in random codes anyway. Cold means that the pages of codes.arrow were dropped from the cache.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from snac_exp.data.checked_parquet import write_parquet
from snac_exp.data.codes.arrow_file import MAPPED_NAME
from snac_exp.data.codes.shards import CacheSpec, ShardMetadata, shard_name, shard_schema
from snac_exp.data.codes.table import CodeTable

STRIDES, HOP, RATE, CODEBOOK_SIZE = (4, 2, 1), 512, 24000, 4096
NUM_WORKERS, NUM_RANDOM_ROWS = 8, 20_000
OPEN_PROGRAM = """
import sys, time
from pathlib import Path
from snac_exp.data.codes.table import CodeTable
started = time.perf_counter()
table = CodeTable.open(Path(sys.argv[1]))
table.coarse_lengths, table.rows_of("train"), table.rows_of("validation")
print(time.perf_counter() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=340_000)
    parser.add_argument("--files", type=int, default=286)
    parser.add_argument("--templates", type=int, default=32)
    parser.add_argument("--folder", type=Path, default=None, help="where to make the cache; default: a temporary one")
    parser.add_argument("--keep", action="store_true", help="leave the cache there")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="code_cache_"))
    try:
        run(folder, args.rows, args.files, args.templates)
    finally:
        if not args.keep:
            shutil.rmtree(folder)


def run(folder: Path, num_rows: int, num_files: int, num_templates: int) -> None:
    """Make the cache and print its figures beside what they must be."""
    seconds = timed(lambda: make_shards(folder, num_rows, num_files, num_templates))
    size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    print(f"{num_rows:,} rows in {num_files} files, {size / 2**30:.2f} GiB of parquet, made in {seconds:.0f} s")
    seconds = timed(lambda: CodeTable.open(folder))
    size = (folder / MAPPED_NAME).stat().st_size
    print(f"conversion       {seconds:8.1f} s    (at most 120 s) to {size / 2**30:.2f} GiB of Arrow")
    drop_pages(folder / MAPPED_NAME)
    print(f"open, cold       {open_seconds(folder):8.2f} s    (at most 5 s)")
    print(f"open, warm       {open_seconds(folder):8.2f} s    (at most 2 s)")
    read_pages(folder / MAPPED_NAME)
    print(f"random row       {random_row_microseconds(folder):8.1f} us   (at most 20 us), all codebooks")
    alone, together = workers_pss(folder, 1), workers_pss(folder, NUM_WORKERS)
    print(f"PSS of {NUM_WORKERS} workers {together / alone:8.2f} x    (below 1.3 x of one: {alone / 2**30:.2f} GiB)")


def make_shards(folder: Path, num_rows: int, num_files: int, num_templates: int) -> None:
    """Write a complete cache; the last shard is shorter or longer than the others."""
    folder.mkdir(parents=True, exist_ok=True)
    per_file, rest = divmod(num_rows, num_files)
    templates = [folder / f"template{i}" for i in range(min(num_templates, num_files - 1))]
    for i, path in enumerate(templates):
        write_shard(path, per_file, seed=i)
    for i in range(num_files - 1):
        shutil.copyfile(templates[i % len(templates)], folder / shard_name(i, num_files))
    write_shard(folder / shard_name(num_files - 1, num_files), per_file + rest, seed=num_files)
    for path in templates:
        path.unlink()


def write_shard(path: Path, num_rows: int, seed: int) -> None:
    """Random codes in the layout of snac-exp cache-codes."""
    rng = np.random.default_rng(seed)
    num_samples = rng.integers(3 * RATE, 8 * RATE, num_rows)
    coarse = -(-num_samples // (HOP * STRIDES[0]))
    paths = [f"speaker{row % 97:04d}/session{seed:06d}/utterance_{row:09d}.flac" for row in range(num_rows)]
    columns = {
        "path": pa.array(paths),
        "split": pa.array(np.where(rng.random(num_rows) < 0.95, "train", "validation")),
        "speaker": pa.array([f"speaker{row % 97:04d}" for row in range(num_rows)]),
        "sha1": pa.array(["0" * 40] * num_rows),
        "seconds": pa.array(num_samples / RATE),
        "num_samples": pa.array(num_samples),
        "source_rate": pa.array(np.full(num_rows, RATE, np.int32)),
    }
    for i, stride in enumerate(STRIDES):
        offsets = np.concatenate([[0], np.cumsum(coarse * (STRIDES[0] // stride))]).astype(np.int32)
        tokens = rng.integers(0, CODEBOOK_SIZE, offsets[-1], dtype=np.uint16)
        columns[f"codes_{i}"] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(tokens))
    identity = CacheSpec("0" * 64, "random", RATE, HOP, STRIDES, None, CODEBOOK_SIZE, "0" * 40, "/nowhere")
    metadata = ShardMetadata(identity, num_rows, (), ("benchmark",))
    schema = shard_schema(len(STRIDES)).with_metadata(metadata.encode())
    write_parquet(path, pa.table(columns, schema=schema))


def open_seconds(folder: Path) -> float:
    """Seconds to open the cache and split its rows, in a fresh process, without its imports."""
    done = subprocess.run([sys.executable, "-c", OPEN_PROGRAM, str(folder)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def random_row_microseconds(folder: Path) -> float:
    """Mean time for all tokens of a random row, its checksum included; nothing was touched before in this process."""
    table = CodeTable.open(folder)
    rows = np.random.default_rng(0).integers(0, len(table), NUM_RANDOM_ROWS).tolist()
    started, total = time.perf_counter(), 0
    for row in rows:
        for codebook in range(len(STRIDES)):
            total += len(table.codes(row, codebook))
    assert total > 0
    return (time.perf_counter() - started) / NUM_RANDOM_ROWS * 1e6


def workers_pss(folder: Path, num_workers: int) -> int:
    """Proportional memory of the mapping, summed over workers that have all read all of it, in bytes."""
    context = multiprocessing.get_context("fork")
    table = CodeTable.open(folder)
    ready, go, results = context.Barrier(num_workers), context.Barrier(num_workers), context.Queue()

    def work() -> None:
        arrays: list[np.ndarray] = [*table.values, *table.offsets, table.num_samples]
        for array in arrays:
            array.max()
        ready.wait()
        results.put(mapping_pss(folder / MAPPED_NAME))
        go.wait()

    workers = [context.Process(target=work) for _ in range(num_workers)]
    for worker in workers:
        worker.start()
    total = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total


def mapping_pss(path: Path) -> int:
    """Pss of this process's mappings of a file, in bytes."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024
    return total


def drop_pages(path: Path) -> None:
    """Ask the kernel to forget the file's pages."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_pages(path: Path) -> None:
    """Bring the file's pages into memory, so that what follows is no figure of the disk."""
    with open(path, "rb") as file:
        while file.read(2**24):
            pass


def timed(function: Callable[[], object]) -> float:
    """Seconds a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
