"""Measure all rows of a source, in parallel, and remember what was measured: the next run reads only what is new."""

import json
import multiprocessing
import os
import signal
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from snac_exp.data.files.levels import Levels
from snac_exp.data.files.listing import Listed, Listing
from snac_exp.data.files.measurements import Measurements
from snac_exp.data.files.recording import Bytes
from snac_exp.data.files.scan import FileMeasurement, measure, stamp
from snac_exp.data.files.segments import measure_rows
from snac_exp.errors import DataError
from snac_exp.system.checksums.json_digest import signed, verified
from snac_exp.system.paths.writing import write_whole
from snac_exp.system.progress import progress_display

JOURNAL_NAME = "scan.jsonl"
FILES_PER_TASK = 16  # so that measuring outweighs sending it to a worker
TASKS_PER_WORKER = 4  # under way, so that none waits for another
_BLOCK = 2**20
MEASURING_RULES = 4  # since when levels are noted, and judged afterwards


def measure_all(listing: Listing, output_dir: Path, num_workers: int | None) -> tuple[Measurements, int]:
    """Measurements of all rows in the order of the listing, and how many were known from before."""
    measurements = Measurements(listing.rows)
    _recall(output_dir / JOURNAL_NAME, listing, measurements)
    unknown = measurements.unknown().tolist()
    journal = _journal(output_dir / JOURNAL_NAME, listing.input)
    with journal as write, progress_display("prepare", len(unknown)) as advance:
        for indexes, measured in _measure_in_parallel(listing, unknown, num_workers):
            for index, one in zip(indexes, measured, strict=True):
                measurements.note(index, one)
                write(one)
            advance(len(measured), "")
    return measurements, len(listing.rows) - len(unknown)


def _by_file(listing: Listing, indexes: Iterable[int]) -> Iterator[list[int]]:
    """Rows of one audio file together: it is decoded once for all of them."""
    if listing.more is None:  # a folder of files
        yield from ([index] for index in indexes)
        return
    found: dict[tuple[str, Bytes | None], list[int]] = {}
    for index in indexes:
        row = listing.rows[index]
        found.setdefault((row.file, row.within), []).append(index)
    yield from found.values()


def _measure_in_parallel(
    listing: Listing, indexes: list[int], num_workers: int | None
) -> Iterator[tuple[list[int], list[FileMeasurement]]]:
    """Numbers of the rows of a file, and their measurements."""
    files = _by_file(listing, indexes)
    num_workers = min(num_workers or os.cpu_count() or 1, len(indexes) // FILES_PER_TASK)
    if num_workers < 2:
        for numbers in files:
            yield numbers, _measure_file(listing.root, [listing.rows[number] for number in numbers])
        return
    # Fresh processes: a fork of a process with threads (progress bar, torch) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_ignore_interrupt)
    waiting: deque[tuple[list[list[int]], Future[list[list[FileMeasurement]]]]] = deque()
    try:
        while tasks := list(islice(files, FILES_PER_TASK)):
            rows = [[listing.rows[number] for number in numbers] for numbers in tasks]
            waiting.append((tasks, pool.submit(_measure_files, listing.root, rows)))
            # Of millions of files a few are on their way at a time.
            if len(waiting) >= TASKS_PER_WORKER * num_workers:
                numbered, done = waiting.popleft()
                yield from zip(numbered, done.result(), strict=True)
        for numbered, done in waiting:
            yield from zip(numbered, done.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_files(root: Path, files: list[list[Listed]]) -> list[list[FileMeasurement]]:
    return [_measure_file(root, rows) for rows in files]


def _measure_file(root: Path, rows: list[Listed]) -> list[FileMeasurement]:
    if rows[0].fault is not None:
        return [FileMeasurement(row.path, -1, -1, error=row.fault) for row in rows]
    return [measure(root, rows[0].path)] if len(rows) == 1 and rows[0].is_plain else measure_rows(root, rows)


def _ignore_interrupt() -> None:
    # Ctrl-C reaches every process of the terminal: the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _recall(path: Path, listing: Listing, measurements: Measurements) -> None:
    """Take over what earlier runs measured of rows that are as they were then; the last line of a row counts.

    A line that is damaged, or cut off by a kill, is left out: its file is read again.

    Raises:
        DataError: the journal is of another input, or does not say of which.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        lines = (line[:-1] for line in file if line.endswith(b"\n"))
        if not _is_current(path, next(lines, None), listing.input):
            return
        for measured in filter(None, map(_measurement_of, lines)):
            index = measurements.index(measured.path)
            if index is not None and _unchanged(listing, listing.rows[index], measured):
                measurements.note(index, measured)
            elif index is not None:
                measurements.forget(index)


def _unchanged(listing: Listing, row: Listed, measured: FileMeasurement) -> bool:
    return row.asked == measured.asked and stamp(listing.root / row.file) == (measured.size_bytes, measured.mtime_ns)


def _is_current(path: Path, first_line: bytes | None, source: str) -> bool:
    """Whether a journal's lines count: one that measured by other rules is deleted."""
    if first_line is None:
        return False
    try:
        header = verified(json.loads(first_line))
        input_of = header["input"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it, all files are then measured again") from error
    if input_of != source:
        raise DataError(f"{path}: belongs to the input folder {input_of}; choose another output folder")
    if header != _header(source):
        path.unlink()
        return False
    return True


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
            line = _line(measured.to_json())
            write_whole(file, _checksum(line[:-1]) + b" " + line, path)

        yield write


def _cut_partial_line(file: Any) -> None:
    """Cut a journal behind its last whole line, which is never longer than a block."""
    end = file.seek(0, os.SEEK_END)
    start = max(end - _BLOCK, 0)
    file.seek(start)
    file.truncate(start + file.read().rfind(b"\n") + 1)


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value) + "\n").encode()
