"""Measure all rows of a source, in parallel, and remember what was measured: the next run reads only what is new."""

import json
import multiprocessing
import os
import signal
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from snac_exp.data.files.levels import Levels
from snac_exp.data.files.listing import Listed, Listing
from snac_exp.data.files.recording import Bytes
from snac_exp.data.files.scan import FileMeasurement, measure, stamp
from snac_exp.data.files.segments import measure_rows
from snac_exp.errors import DataError
from snac_exp.system.checksums.json_digest import signed, verified
from snac_exp.system.paths.writing import write_whole
from snac_exp.system.progress import progress_display

JOURNAL_NAME = "scan.jsonl"
FILES_PER_TASK = 16  # so that measuring outweighs sending it to a worker
MEASURING_RULES = 4  # since when levels are noted, and judged afterwards


def measure_all(listing: Listing, output_dir: Path, num_workers: int | None) -> tuple[list[FileMeasurement], int]:
    """Measurements of all rows in the order of the listing, and how many were known from before."""
    rows = listing.rows
    known = _read_journal(output_dir / JOURNAL_NAME, listing.input)
    measurements = {row.path: known[row.path] for row in rows if row.path in known and _unchanged(listing, row, known)}
    num_known = len(measurements)
    unknown = _by_file([row for row in rows if row.path not in measurements])
    journal = _journal(output_dir / JOURNAL_NAME, listing.input)
    with journal as write, progress_display("prepare", len(rows) - num_known) as advance:
        for measured in _measure_in_parallel(listing.root, unknown, num_workers):
            for one in measured:
                measurements[one.path] = one
                write(one)
            advance(len(measured), "")
    return [measurements[row.path] for row in rows], num_known


def _by_file(rows: list[Listed]) -> list[list[Listed]]:
    """Rows of one audio file together: it is decoded once for all of them."""
    found: dict[tuple[str, Bytes | None], list[Listed]] = {}
    for row in rows:
        found.setdefault((row.file, row.within), []).append(row)
    return list(found.values())


def _measure_in_parallel(
    root: Path, files: list[list[Listed]], num_workers: int | None
) -> Iterator[list[FileMeasurement]]:
    task = partial(_measure_file, root)
    num_workers = min(num_workers or os.cpu_count() or 1, len(files) // FILES_PER_TASK)
    if num_workers < 2:
        yield from map(task, files)
        return
    # Fresh processes: a fork of a process with threads (progress bar, torch) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_ignore_interrupt)
    try:
        yield from pool.map(task, files, chunksize=FILES_PER_TASK)
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_file(root: Path, rows: list[Listed]) -> list[FileMeasurement]:
    if rows[0].fault is not None:
        return [FileMeasurement(row.path, -1, -1, error=row.fault) for row in rows]
    return [measure(root, rows[0].path)] if len(rows) == 1 and rows[0].is_plain else measure_rows(root, rows)


def _ignore_interrupt() -> None:
    # Ctrl-C reaches every process of the terminal: the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _unchanged(listing: Listing, row: Listed, known: Mapping[str, FileMeasurement]) -> bool:
    measured = known[row.path]
    return row.asked == measured.asked and stamp(listing.root / row.file) == (measured.size_bytes, measured.mtime_ns)


def _read_journal(path: Path, source: str) -> dict[str, FileMeasurement]:
    """Measurements of earlier runs; a line that is damaged, or cut off by a kill, is left out: its file is read again.

    Raises:
        DataError: the journal is of another input, or does not say of which.
    """
    if not path.exists():
        return {}
    lines = path.read_bytes().split(b"\n")[:-1]
    if not lines:
        return {}
    try:
        header = verified(json.loads(lines[0]))
        input_of = header["input"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it, all files are then measured again") from error
    if input_of != source:
        raise DataError(f"{path}: belongs to the input folder {input_of}; choose another output folder")
    if header != _header(source):
        path.unlink()  # measured by other rules: every file is read again
        return {}
    measurements = filter(None, map(_measurement_of, lines[1:]))
    return {measured.path: measured for measured in measurements}


def _header(source: str) -> dict[str, Any]:
    return {"input": source, "rules": MEASURING_RULES}


def _measurement_of(line: bytes) -> FileMeasurement | None:
    """A line of the journal; None if it is not as it was written. Lines of earlier versions have no checksum."""
    checksum, text = (None, line) if line.startswith(b"{") else (line[:8], line[9:])
    if checksum is not None and checksum != _checksum(text):
        return None
    try:
        stored = json.loads(text)
        levels, segment = Levels(**stored["levels"]), stored["segment"]
        return FileMeasurement(**{**stored, "levels": levels, "segment": None if segment is None else tuple(segment)})
    except (ValueError, TypeError, KeyError):
        return None


def _checksum(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()


@contextmanager
def _journal(path: Path, source: str) -> Iterator[Callable[[FileMeasurement], None]]:
    """Yield `write(measurements)`, which appends one line that survives a kill right after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered: a line is with the kernel at once, where a kill cannot reach it; a power cut costs measuring again.
    with open(path, "a+b", buffering=0) as file:
        # Opened for appending, a file begins at its end: 0 means that it is new.
        if file.tell() == 0:
            write_whole(file, _line(signed(_header(source))), path)
        else:
            _cut_partial_line(file)

        def write(measured: FileMeasurement) -> None:
            line = _line(asdict(measured))
            write_whole(file, _checksum(line[:-1]) + b" " + line, path)

        yield write


def _cut_partial_line(file: Any) -> None:
    file.seek(0)
    content = file.read()
    file.truncate(content.rfind(b"\n") + 1)


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value) + "\n").encode()
