"""What a source lists before anything is measured: rows, where their audio should lie, and what is known of them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from snac_exp.data.files.recording import Bytes, Recording
from snac_exp.errors import DataError

UNKNOWN_SPEAKER = "unknown"
_NO_COLUMNS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Listed:
    """A row as its source lists it.

    path: its name. file: that holds its audio, relative to the listing's root. within: bytes of that file. offset and
    duration in seconds, null = up to the end. channel: the only one it is of, null = all of them. columns: further
    ones, by name. split: as the source calls it. fault: why there is no audio to look for.
    """

    path: str
    file: str
    within: Bytes | None = None
    offset: float = 0.0
    duration: float | None = None
    channel: int | None = None
    speaker: str | None = None
    columns: Mapping[str, Any] = field(default_factory=lambda: _NO_COLUMNS)
    split: str | None = None
    fault: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is a whole file and nothing else."""
        return self.path == self.file and self.asked is None

    @property
    def asked(self) -> list[Any] | None:
        """What tells it from the whole file, as JSON has it; null for a whole file."""
        if (self.within, self.offset, self.duration, self.channel) == (None, 0.0, None, None):
            return None
        place = [] if self.within is None else [self.within.first, self.within.size]
        return [place, self.offset, self.duration, self.channel]

    def recording(self, root: Path) -> Recording:
        """The audio file that it is of, all of it."""
        return Recording(root / self.file, self.within)


class RowsListed(Protocol):
    """Rows in the order of their paths."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Listed: ...

    def __iter__(self) -> Iterator[Listed]: ...


class WholeFiles:
    """Rows that are whole files, out of their sorted paths: of millions, each is made when it is asked for."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int, /) -> Listed:
        return Listed(self._paths[index], self._paths[index])

    def __iter__(self) -> Iterator[Listed]:
        return (Listed(path, path) for path in self._paths)


@dataclass(frozen=True)
class Listing:
    """All rows of a source, by their paths.

    root: folder below which their files lie. input: what the user named. more: null for a folder of files, whose rows
    have no further columns; else the types of those. commit: of a data set of the hub that was streamed.
    """

    root: Path
    input: str
    rows: RowsListed
    more: pa.Schema | None = None
    commit: str | None = None


def listing_of(root: Path, source: str, rows: Iterable[Listed]) -> Listing:
    """The listing of a source that is no folder of files: its rows by path, each path once, columns of one type."""
    found = _each_once(rows)
    if not found:
        raise DataError(f"{source}: lists no audio")
    types = _column_types([row.columns for row in found])
    typed = [replace(row, columns=_typed(row.columns, types)) for row in found]
    return Listing(root, source, sorted(typed, key=lambda row: row.path), types)


def _each_once(rows: Iterable[Listed]) -> list[Listed]:
    """The rows, those whose path came before under another one; equal audio is rejected later as a duplicate."""
    found: dict[str, Listed] = {}
    for row in rows:
        path, number = row.path, 1
        while path in found:
            number += 1
            path = f"{row.path}~{number}"
        found[path] = replace(row, path=path)
    return list(found.values())


def _column_types(columns: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """One type for each column, in the order in which they first come: numbers and truth values where all are, else
    text."""
    kinds: dict[str, set[type]] = {}
    for row in columns:
        for name, value in row.items():
            kinds.setdefault(name, set())
            if value is not None:
                kinds[name].add(type(value))
    return pa.schema([(name, _type_of(found)) for name, found in kinds.items()])


def _type_of(kinds: set[type]) -> pa.DataType:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()


def _typed(row: Mapping[str, Any], types: pa.Schema) -> dict[str, Any]:
    return {
        name: _as_text(row.get(name)) if types.field(name).type == pa.string() else row.get(name)
        for name in types.names
    }


def _as_text(value: Any) -> str | None:
    """Text as it is, lists and objects as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
