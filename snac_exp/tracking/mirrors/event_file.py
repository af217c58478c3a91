"""TensorBoard's event file: records that are written whole, and cut back on a resume."""

import io
import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from snac_exp.system.paths.writing import write_whole

_NAME = "events.out.tfevents.{:010d}.snac_exp"  # TensorBoard reads names with "tfevents", in their order
_HEAD_BYTES, _TAIL_BYTES = 12, 4  # length and its checksum; checksum of the data
_HIDDEN = ".half-written"  # TensorBoard does not read it: the name lacks "tfevents"


class EventFile:
    """The one event file in a folder: `head` records, then others, appended one by one.

    A record is with the operating system when `append` returns, so a killed process has lost none that it wrote whole.
    """

    def __init__(self, folder: Path, head: Sequence[bytes], keep: int) -> None:
        """Go on behind the first `keep` records that follow the head, or begin.

        Where records are to be taken back, a new file replaces the old one: a TensorBoard that has the old one open
        would otherwise read on in the midst of a record. The old one stays, empty, until the next time: of a file that
        is gone TensorBoard does not come away.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files = _filled(folder)
        ends = list(_record_ends(files[-1])) if files else []
        known = len(ends) - len(head)
        self.num_records = max(min(known, keep), 0)
        if files and len(files) == 1 and 0 <= known <= keep:
            self._path = files[0]
            os.truncate(self._path, ends[-1])  # a last record that was cut off by a kill
        else:
            end = ends[len(head) + self.num_records - 1] if known >= 0 else 0
            self._path = _renewed(folder, files, end, head)
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 (open for the life of the run)

    def append(self, record: bytes) -> None:
        """Write one record, or nothing.

        Raises:
            OSError: the disk takes no more.
        """
        write_whole(self._file, framed(record), self._path)
        self.num_records += 1

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()


def framed(record: bytes) -> bytes:
    """A record with its length and checksums."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    RecordWriter(buffer).write(record)
    return buffer.getvalue()


def _record_ends(path: Path) -> Iterator[int]:
    """Where each whole record ends, in bytes."""
    size, place = path.stat().st_size, 0
    with open(path, "rb") as file:
        while place + _HEAD_BYTES <= size:
            file.seek(place)
            (length,) = struct.unpack("<Q", file.read(_HEAD_BYTES)[:8])
            place += _HEAD_BYTES + length + _TAIL_BYTES
            if place > size:
                return
            yield place


def _filled(folder: Path) -> list[Path]:
    """The event files that are not empty, in order; the others go."""
    files = sorted(folder.glob("*tfevents*"))
    for path in files:
        if not path.stat().st_size:
            path.unlink()
    return [path for path in files if path.exists()]


def _renewed(folder: Path, files: Sequence[Path], end: int, head: Sequence[bytes]) -> Path:
    """A file that follows all others and holds the first `end` bytes of the last one, whose place it takes."""
    last = max((int(path.name.split(".")[3]) for path in files), default=0)
    path = folder / _NAME.format(max(int(time.time()), last + 1))
    hidden = folder / _HIDDEN
    with open(hidden, "wb") as target:
        if end:
            with open(files[-1], "rb") as source:
                _copy(source, target, end)
        else:
            target.write(b"".join(map(framed, head)))
    hidden.rename(path)
    for old in files:
        os.truncate(old, 0)
    return path


def _copy(source: Any, target: Any, num_bytes: int) -> None:
    while num_bytes > 0:
        piece = source.read(min(num_bytes, 1 << 20))
        target.write(piece)
        num_bytes -= len(piece)
