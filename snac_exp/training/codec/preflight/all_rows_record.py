"""What a check of all rows has found so far: a line per row, so that a killed check goes on where it was."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from snac_exp.errors import DataError
from snac_exp.system.checksums.json_lines import signed_line, sound_lines
from snac_exp.system.locks import try_lock
from snac_exp.system.paths.writing import write_whole


@dataclass(frozen=True)
class CheckedRow:
    """A look at one row. score: smaller is worse (share of equal tokens, or minus the delay); cause: None = good."""

    split: str
    proof: str
    row: int
    path: str
    score: float
    cause: str | None = None


class RowRecord:
    """`FOLDER/HASH.jsonl` of an unfinished check; `FOLDER/HASH-finished.jsonl` of a finished one, which the next one of
    the same data replaces."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._good: dict[tuple[str, str], dict[int, float]] = {}

    @classmethod
    @contextmanager
    def open(cls, folder: Path, key: Sequence[str]) -> Iterator["RowRecord"]:
        """Begin, or go on with what an earlier check of the same data left.

        Raises:
            DataError: another process checks the same data now.
        """
        digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:12]
        path = folder / f"{digest}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b", buffering=0) as file:
            if try_lock(file.fileno()) == "busy":
                raise DataError(f"{path}: another process checks the same rows now; wait for it")
            record = cls(path, file)
            record._take_up()
            yield record

    def _take_up(self) -> None:
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        # What follows the last newline was cut off by a kill; its row is looked at again.
        self._file.truncate(sum(len(line) + 1 for line in lines[:-1]))
        names = {item.name for item in fields(CheckedRow)}
        for values in sound_lines(lines[:-1]):
            if values.keys() != names:
                continue  # of another version: its row is looked at again
            found = CheckedRow(**values)
            rows = self._good.setdefault((found.split, found.proof), {})
            if found.cause is None:
                rows[found.row] = found.score
            else:
                rows.pop(found.row, None)

    def good(self, split: str, proof: str) -> dict[int, float]:
        """Rows that an earlier start found good, with their scores."""
        return self._good.get((split, proof), {})

    def write(self, found: CheckedRow) -> None:
        """Add a row; it is with the operating system when this returns."""
        write_whole(self._file, (signed_line(asdict(found)) + "\n").encode(), self._path)

    def finish(self) -> Path:
        """Every row was looked at: the next check begins anew. Returns where the record is kept."""
        kept = self._path.with_name(f"{self._path.stem}-finished.jsonl")
        os.replace(self._path, kept)
        return kept
