"""metrics.jsonl while a run writes it: every look reads what was added since the one before, and no more."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.board.inside import Inside, Signature
from snac_exp.errors import ConfigError
from snac_exp.tracking.metrics_file import complete_lines

PIECE_BYTES = 1 << 18  # read at a time: others get their turn between two pieces of a long file
_MARK_BYTES = 64  # before the place that was reached: they change when a run is resumed from an earlier checkpoint


@dataclass(frozen=True)
class Piece:
    """Lines that were added. is_new: they are the first, what was read before no longer holds. is_last: no more yet."""

    lines: list[dict[str, Any]]
    is_new: bool
    is_last: bool


class GrowingMetrics:
    """One metrics.jsonl and how far it has been read."""

    def __init__(self, inside: Inside, path: Path) -> None:
        self._inside, self._path = inside, path
        self._signature: Signature | None = None
        self._inode, self._offset, self._mark, self._problem = -1, 0, b"", ""

    def changed(self) -> bool:
        """Whether there may be something to read.

        Raises:
            ConfigError: the file may not be read, or was damaged when it last changed.
        """
        if self._inside.signature(self._path) != self._signature:
            return True
        if self._problem:
            raise ConfigError(self._problem)
        return False

    def read(self, most_bytes: int = PIECE_BYTES) -> Piece:
        """The next piece.

        Raises:
            ConfigError: a line is damaged.
        """
        signature, self._problem = self._inside.signature(self._path), ""
        try:
            return self._next(signature, most_bytes)
        except OSError as error:
            self._problem = f"{self._path} cannot be read: {error.strerror}"
        except ConfigError as error:
            self._problem = str(error)
        self._signature = signature
        raise ConfigError(self._problem)

    def _next(self, signature: Signature | None, most_bytes: int) -> Piece:
        if signature is None:
            is_new, self._inode, self._offset, self._mark = self._inode != -1, -1, 0, b""
            self._signature = None
            return Piece([], is_new, True)
        with open(self._path, "rb") as file:
            is_new = not self._goes_on(file.fileno())
            if is_new:
                self._inode, self._offset, self._mark = os.fstat(file.fileno()).st_ino, 0, b""
            file.seek(self._offset)
            text = file.read(most_bytes)
            after = os.fstat(file.fileno())
        whole = after.st_size == self._offset + len(text)
        self._signature = (after.st_ino, after.st_mtime_ns, after.st_size) if whole else None
        end = text.rfind(b"\n") + 1
        if not end and len(text) == most_bytes:
            raise ConfigError(f"{self._path} has a line of over {most_bytes} bytes, which no run writes; restore it")
        lines = list(complete_lines(self._path, text[:end]))
        self._offset += end
        self._mark = (self._mark + text[:end])[-_MARK_BYTES:]
        return Piece(lines, is_new, whole or len(text) < most_bytes)

    def _goes_on(self, handle: int) -> bool:
        """Whether what was read still holds: the file has the same lines before the place that was reached.

        One that was written to and has not grown was changed by hand, anywhere.
        """
        known = os.fstat(handle)
        changed_by_hand = self._signature is not None and known.st_size == self._offset
        if known.st_ino != self._inode or known.st_size < self._offset or changed_by_hand:
            return False
        return os.pread(handle, len(self._mark), self._offset - len(self._mark)) == self._mark
