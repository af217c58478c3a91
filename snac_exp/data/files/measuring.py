"""Measure all files of a folder, in parallel, and remember what was measured: the next run reads only what is new."""

import json
import multiprocessing
import os
import signal
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from snac_exp.data.files.scan import FileMeasurement, find_audio, measure, stamp
from snac_exp.errors import DataError
from snac_exp.system.checksums.json_digest import signed, verified
from snac_exp.system.paths.writing import write_whole
from snac_exp.system.progress import progress_display

JOURNAL_NAME = "scan.jsonl"
FILES_PER_TASK = 16  # so that measuring outweighs sending it to a worker
MEASURING_RULES = 3  # since when channels are compared by their energy too


def measure_all(input_dir: Path, output_dir: Path, num_workers: int | None) -> tuple[list[FileMeasurement], int]:
    """Measurements of all files in the order of their paths, and how many were known from before."""
    paths = find_audio(input_dir, skip=output_dir)
    if not paths:
        raise DataError(
            f"{input_dir}: no audio files below it (wav, flac, ogg, opus, mp3, aiff); name the folder that holds them"
        )
    known = _read_journal(output_dir / JOURNAL_NAME, input_dir)
    measurements = {path: known[path] for path in paths if path in known and _unchanged(input_dir, known[path])}
    num_known = len(measurements)
    unknown = [path for path in paths if path not in measurements]
    with _journal(output_dir / JOURNAL_NAME, input_dir) as write, progress_display("prepare", len(unknown)) as advance:
        for measured in _measure_in_parallel(input_dir, unknown, num_workers):
            measurements[measured.path] = measured
            write(measured)
            advance(1, "")
    return [measurements[path] for path in paths], num_known


def _measure_in_parallel(input_dir: Path, paths: list[str], num_workers: int | None) -> Iterator[FileMeasurement]:
    task = partial(measure, input_dir)
    num_workers = min(num_workers or os.cpu_count() or 1, len(paths) // FILES_PER_TASK)
    if num_workers < 2:
        yield from map(task, paths)
        return
    # Fresh processes: a fork of a process with threads (progress bar, torch) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_ignore_interrupt)
    try:
        yield from pool.map(task, paths, chunksize=FILES_PER_TASK)
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    # Ctrl-C reaches every process of the terminal: the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _unchanged(input_dir: Path, measured: FileMeasurement) -> bool:
    return stamp(input_dir / measured.path) == (measured.size_bytes, measured.mtime_ns)


def _read_journal(path: Path, input_dir: Path) -> dict[str, FileMeasurement]:
    """Measurements of earlier runs; a line that is damaged, or cut off by a kill, is left out: its file is read again.

    Raises:
        DataError: the journal is of another input folder, or does not say of which.
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
    if input_of != str(input_dir):
        raise DataError(f"{path}: belongs to the input folder {input_of}; choose another output folder")
    if header != _header(input_dir):
        path.unlink()  # measured by other rules: every file is read again
        return {}
    measurements = filter(None, map(_measurement_of, lines[1:]))
    return {measured.path: measured for measured in measurements}


def _header(input_dir: Path) -> dict[str, Any]:
    return {"input": str(input_dir), "rules": MEASURING_RULES}


def _measurement_of(line: bytes) -> FileMeasurement | None:
    """A line of the journal; None if it is not as it was written. Lines of earlier versions have no checksum."""
    checksum, text = (None, line) if line.startswith(b"{") else (line[:8], line[9:])
    if checksum is not None and checksum != _checksum(text):
        return None
    try:
        stored = json.loads(text)
        problem = stored["problem"]
        return FileMeasurement(**{**stored, "problem": None if problem is None else tuple(problem)})
    except (ValueError, TypeError, KeyError):
        return None


def _checksum(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()


@contextmanager
def _journal(path: Path, input_dir: Path) -> Iterator[Callable[[FileMeasurement], None]]:
    """Yield `write(measurements)`, which appends one line that survives a kill right after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered: a line is with the kernel at once, where a kill cannot reach it; a power cut costs measuring again.
    with open(path, "a+b", buffering=0) as file:
        # Opened for appending, a file begins at its end: 0 means that it is new.
        if file.tell() == 0:
            write_whole(file, _line(signed(_header(input_dir))), path)
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
