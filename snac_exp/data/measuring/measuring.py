"""Measure all rows of a source, in parallel, and remember what was measured: the next run reads only what is new."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from snac_exp.data.files.listing import Listed, Listing
from snac_exp.data.files.scan import FileMeasurement, measure
from snac_exp.data.measuring.journal import JOURNAL_NAME, journal, recall
from snac_exp.data.measuring.measurements import Int64Array, Measurements
from snac_exp.data.measuring.segments import measure_rows
from snac_exp.data.worker import end_with_parent
from snac_exp.system.progress import progress_display

FILES_PER_TASK = 16  # so that measuring outweighs sending it to a worker
TASKS_PER_WORKER = 4  # under way, so that none waits for another


def measure_all(listing: Listing, output_dir: Path, num_workers: int | None) -> tuple[Measurements, int]:
    """Measurements of all rows in the order of the listing, and how many were known from before."""
    measurements = Measurements(listing.rows)
    recall(output_dir / JOURNAL_NAME, listing, measurements)
    unknown = measurements.unknown()
    writing = journal(output_dir / JOURNAL_NAME, listing.input)
    with writing as write, progress_display("prepare", len(unknown)) as advance:
        for indexes, measured in _measure_in_parallel(listing, unknown, num_workers):
            for index, one in zip(indexes, measured, strict=True):
                measurements.note(index, one)
                write(one)
            advance(len(measured), "")
    return measurements, len(listing.rows) - len(unknown)


def _measure_in_parallel(
    listing: Listing, indexes: Int64Array, num_workers: int | None
) -> Iterator[tuple[list[int], list[FileMeasurement]]]:
    """Numbers of the rows of a file, and their measurements."""
    files = listing.rows.by_file(indexes)
    num_workers = min(num_workers or os.cpu_count() or 1, len(indexes) // FILES_PER_TASK)
    if num_workers < 2:
        for numbers in files:
            yield numbers, _measure_file(listing.root, [listing.rows[number] for number in numbers])
        return
    # Fresh processes: a fork of a process with threads (progress bar, torch) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin_worker)
    waiting: deque[tuple[list[list[int]], Future[list[list[FileMeasurement]]]]] = deque()
    try:
        while tasks := list(islice(files, FILES_PER_TASK)):
            rows = [[listing.rows[number] for number in numbers] for numbers in tasks]
            with _ctrl_c_waits():  # a submit may start a worker
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


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Within it Ctrl-C waits; a process that is started here never hears of it, not even before its first line."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    # Ctrl-C reaches every process of the terminal: the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
