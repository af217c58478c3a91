"""scan.jsonl: what was measured, a line for each row, which the next run does not measure again."""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snac_exp.data.files.levels import Levels
from snac_exp.data.files.listing import Listed, Listing
from snac_exp.data.files.scan import FileMeasurement, stamp
from snac_exp.data.measuring.measurements import Measurements
from snac_exp.errors import DataError
from snac_exp.system.checksums.json_digest import signed, verified
from snac_exp.system.paths.writing import write_whole

JOURNAL_NAME = "scan.jsonl"
MEASURING_RULES = 4  # since when levels are noted, and judged afterwards
_BLOCK = 2**20


def recall(path: Path, listing: Listing, measurements: Measurements) -> None:
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
def journal(path: Path, source: str) -> Iterator[Callable[[FileMeasurement], None]]:
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
