"""Parquet files that carry a checksum of all their bytes, so that damage is an error and never other values.

The metadata in the footer holds under CHECKSUM two SHA-256: of the bytes before the footer, and of the footer itself
with that second one zeroed. The footer is therefore checked without reading the rows. To other programs it is metadata
like any other; one that copies it into a file of its own makes a file that is refused here. Files of earlier versions
have no checksum and are read without.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path

CHECKSUM = b"snac_exp_sha256"
CHECKED = b"snac_exp_checked"  # a second sign of a checksum, so that a file is not taken for one without if one is hit
_DIGITS = 64
_VALUE_OF_CHECKSUM = CHECKSUM + b"\x18\x80\x01"  # as Thrift writes it: a second field of 128 bytes
_BLOCK = 2**20
_LENGTH_AND_MAGIC = 8
T = TypeVar("T")
NOT_READABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What unchecked bytes may raise in Arrow and in those who read its values; a `DataError` is none of these."""


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer (zstd) of a file that appears under its name, with its checksum, once all rows are written."""
    metadata = {**(schema.metadata or {}), CHECKSUM: b"0" * 2 * _DIGITS, CHECKED: b"1"}
    with atomic_path(path) as temporary:
        with pq.ParquetWriter(temporary, schema.with_metadata(metadata), compression="zstd") as writer:
            yield writer
        _write_checksum(temporary)


def write_parquet(path: Path, table: pa.Table) -> None:
    """A whole table, atomically; the same table gives the same bytes."""
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table.cast(writer.schema))


def check_parquet(path: Path, kind: str, mend: str, *, footer_only: bool = False) -> None:
    """Compare a file with its checksum, if it has one.

    Args:
        kind: what the file is, as in "code shard".
        mend: what to do with a damaged one.
        footer_only: leave the rows unread; names of columns, numbers of rows and metadata are then sure.

    Raises:
        DataError: it is damaged.
    """
    with open(path, "rb") as file:
        problem = _problem(file, footer_only)
    if problem:
        raise DataError(f"{path}: damaged {kind}, {problem}; {mend}")


def read_parquet(path: Path, kind: str, mend: str, read: Callable[[pq.ParquetFile], T]) -> T:
    """What `read` takes from a file that was checked; errors as `check_parquet`.

    Whatever `read` raises because of a file's content is told as damage, too: files without a checksum may hold
    anything.
    """
    try:
        check_parquet(path, kind, mend)
        with pq.ParquetFile(path) as file:
            return read(file)
    except NOT_READABLE as error:
        raise DataError(f"{path}: not a readable {kind} ({_first_line(error)}); {mend}") from error


def read_footer(path: Path, kind: str, mend: str, read: Callable[[pq.FileMetaData], T]) -> T:
    """The same of what the footer says, which is checked without reading the rows."""
    try:
        check_parquet(path, kind, mend, footer_only=True)
        return read(pq.read_metadata(path))
    except NOT_READABLE as error:
        raise DataError(f"{path}: not a readable {kind} ({_first_line(error)}); {mend}") from error


def footer_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of the footer, and so of a file with a checksum; its rows are not read."""
    with open(path, "rb") as file:
        return hashlib.sha256(_footer(file)[1]).hexdigest()


def _problem(file: IO[bytes], footer_only: bool) -> str | None:
    start, footer = _footer(file)
    place = footer.find(_VALUE_OF_CHECKSUM) + len(_VALUE_OF_CHECKSUM)
    if place < len(_VALUE_OF_CHECKSUM):
        file.seek(max(file.seek(0, 2) - _BLOCK, 0))  # the length of the footer may be what is damaged
        end = file.read()
        return "its checksum is not whole" if CHECKSUM in end or CHECKED in end else None
    rows, own = footer[place : place + _DIGITS], footer[place + _DIGITS : place + 2 * _DIGITS]
    if _of_footer(footer, place) != own:
        return "its footer does not match its checksum"
    if not footer_only and _of_rows(file, start) != rows:
        return "its rows do not match their checksum"
    return None


def _write_checksum(path: Path) -> None:
    with open(path, "r+b") as file:
        start, footer = _footer(file)
        place = footer.index(_VALUE_OF_CHECKSUM) + len(_VALUE_OF_CHECKSUM)
        footer[place : place + _DIGITS] = _of_rows(file, start)
        footer[place + _DIGITS : place + 2 * _DIGITS] = _of_footer(footer, place)
        file.seek(start)
        file.write(footer)


def _footer(file: IO[bytes]) -> tuple[int, bytearray]:
    """Where the footer begins, and all from there on; the last bytes of the file where its length is impossible."""
    size = file.seek(0, 2)
    file.seek(max(size - _LENGTH_AND_MAGIC, 0))
    length = int.from_bytes(file.read(4), "little") + _LENGTH_AND_MAGIC
    start = size - length if length <= size else max(size - _BLOCK, 0)
    file.seek(start)
    return start, bytearray(file.read())


def _of_footer(footer: bytes | bytearray, place: int) -> bytes:
    zeroed = bytearray(footer)
    zeroed[place + _DIGITS : place + 2 * _DIGITS] = b"0" * _DIGITS
    return hashlib.sha256(zeroed).hexdigest().encode()


def _of_rows(file: IO[bytes], num_bytes: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    while num_bytes > 0 and (block := file.read(min(_BLOCK, num_bytes))):
        digest.update(block)
        num_bytes -= len(block)
    return digest.hexdigest().encode()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
