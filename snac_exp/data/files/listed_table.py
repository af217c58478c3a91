"""The rows of a source as columns: of millions of rows, objects would take gigabytes.

This module imports no torch: the worker processes of `prepare` start in a fraction of a second.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.data.files.recording import Bytes
from snac_exp.errors import DataError

Int64Array = npt.NDArray[np.int64]
ROWS_AT_ONCE = 2**13  # that are objects
_NO_COLUMNS: Mapping[str, Any] = {}
# Paths as bytes: names of files need not be text. Their order is that of the text, so that a row is found by halves.
FIXED = pa.schema(
    [
        ("path", pa.large_binary()),
        ("file", pa.large_binary()),
        ("first", pa.int64()),
        ("size", pa.int64()),
        ("offset", pa.float64()),
        ("duration", pa.float64()),
        ("channel", pa.int64()),
        ("speaker", pa.large_binary()),
        ("split", pa.large_binary()),
        ("fault", pa.large_binary()),
    ]
)
_REPEATED = ("file", "speaker", "split", "fault")  # the same in many rows: kept once


@dataclass(frozen=True, slots=True)
class Found:
    """A row as its source has it: see `Listed`, but `file` is an absolute path, null where there is no audio.

    path: null = after its file, and where in it the row lies.
    """

    file: str | None
    path: str | None = None
    within: Bytes | None = None
    offset: float = 0.0
    duration: float | None = None
    channel: int | None = None
    speaker: str | None = None
    split: str | None = None
    columns: Mapping[str, Any] = field(default_factory=lambda: _NO_COLUMNS)
    fault: str | None = None

    def fixed(self) -> tuple[Any, ...]:
        """The values of FIXED."""
        first, size = (None, None) if self.within is None else (self.within.first, self.within.size)
        texts = map(bytes_of, (self.speaker, self.split, self.fault))
        return bytes_of(self.path), bytes_of(self.file), first, size, self.offset, self.duration, self.channel, *texts


@dataclass(frozen=True)
class Columns:
    """All rows of a source: values of FIXED, and its further columns with a type each."""

    fixed: dict[str, Any]
    further: dict[str, Any]

    @classmethod
    def of(cls, source: str, rows: Iterable[Found]) -> "Columns":
        """The columns of rows, in their order; DataError for text that is none."""
        parts: dict[str, list[Any]] = {name: [] for name in FIXED.names}
        further, several, num = dict[str, _Column](), iter(rows), 0
        while some := list(islice(several, ROWS_AT_ONCE)):
            for item, values in zip(FIXED, zip(*(row.fixed() for row in some), strict=True), strict=True):
                part = pa.array(values, item.type)
                parts[item.name].append(part.dictionary_encode() if item.name in _REPEATED else part)
            for name in dict.fromkeys(name for row in some for name in row.columns):
                further.setdefault(name, _Column(name, source)).add(num, [row.columns.get(name) for row in some])
            num += len(some)
        # Of each column the parts go before those of the next are joined: all twice would be twice as much.
        fixed = {item.name: _joined(item, parts.pop(item.name)) for item in FIXED}
        return cls(fixed, {name: column.typed(num) for name, column in further.items()})

    def sorted_by(self, paths: Any) -> "Columns":
        """In the order of these paths, which become theirs; each is there once."""
        self.fixed["path"] = paths
        del paths  # else they would be there twice
        order = pc.sort_indices(self.fixed["path"])
        for columns in (self.fixed, self.further):
            for name in columns:
                columns[name] = columns[name].take(order)
        return self


class _Column:
    """Values of a further column, part by part, of which only the last one says which type all have."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self._source = name, source
        self._kinds: set[type] = set()
        self._parts: list[tuple[int, Any]] = []

    def add(self, start: int, values: list[Any]) -> None:
        """The values of rows from `start` on."""
        kinds = {_kind(value) for value in values if value is not None}
        self._kinds |= kinds
        kind = _type_of(kinds) if len(kinds) == 1 else pa.large_string()
        self._parts.append((start, self._array(values, kind)))

    def typed(self, num: int) -> Any:
        """One array of all rows: numbers and truth values where all are, else text."""
        kind, pieces, stop = _type_of(self._kinds), list[Any](), 0
        parts, self._parts = self._parts, []
        for start, part in parts:
            pieces += [pa.nulls(start - stop, kind)] if start > stop else []
            pieces.append(part if part.type == kind else self._array(_values(part, kind), kind))
            stop = start + len(part)
        del parts
        return one_array(pa.chunked_array([*pieces, pa.nulls(num - stop, kind)], kind))

    def _array(self, values: Iterable[Any], kind: pa.DataType) -> Any:
        try:
            return pa.array([_as_text(value) for value in values] if kind == pa.large_string() else list(values), kind)
        except UnicodeEncodeError as error:
            raise DataError(
                f"{self._source}: column {self._name} holds values that are not text ({error}); fix it"
            ) from None


def _joined(item: pa.Field, parts: list[Any]) -> Any:
    """A column of FIXED; one without any value takes no room, but for that of files, which is looked into."""
    kind = pa.dictionary(pa.int32(), item.type) if item.name in _REPEATED else item.type
    column = pa.chunked_array(parts, kind)
    if column.null_count == len(column) and item.name != "file":
        return pa.nulls(len(column))
    return one_array(column.unify_dictionaries() if item.name in _REPEATED else column)


def _values(part: Any, kind: pa.DataType) -> list[Any]:
    """Of a part whose type was another one by itself: where all are numbers, text holds whole ones and others."""
    values: list[Any] = part.to_pylist()
    if kind != pa.float64():
        return values
    return [value if value is None else float(value) for value in values]


def _kind(value: Any) -> type:
    # A number that Arrow has no room for is text.
    return str if isinstance(value, int) and not -(2**63) <= value < 2**63 else type(value)


def _type_of(kinds: set[type]) -> pa.DataType:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.large_string()


def _as_text(value: Any) -> str | None:
    """Text as it is, lists and objects as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def one_array(column: Any) -> Any:
    """A chunked column as one array; text with 64-bit offsets, since all of it may be more than 2 GB."""
    kind = pa.large_string() if pa.types.is_string(column.type) else column.type
    whole = column.cast(kind).combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks or [pa.nulls(0, kind)])


def values_of(array: Any) -> list[Any]:
    """An array as objects; of values that are kept once a list has them as often as they come."""
    return list((array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array).to_pylist())


def mapped(change: Callable[..., bytes | None], *columns: Any) -> Any:
    """An array of binary values made of those of other arrays, row by row."""
    starts = range(0, len(columns[0]), ROWS_AT_ONCE)
    some = (zip(*(values_of(column.slice(start, ROWS_AT_ONCE)) for column in columns), strict=True) for start in starts)
    parts = [pa.array([change(*values) for values in part], pa.large_binary()) for part in some]
    return one_array(pa.chunked_array(parts, pa.large_binary()))


def each_once(paths: Any) -> Any:
    """Paths, those that came before under another one."""
    ordered = paths.take(pc.sort_indices(paths))
    if len(paths) < 2 or not pc.any(pc.equal(ordered.slice(1), ordered.slice(0, len(paths) - 1))).as_py():
        return paths
    found: dict[bytes, None] = {}
    for path in paths.to_pylist():
        name, number = path, 1
        while name in found:
            number += 1
            name = path + f"~{number}".encode()
        found[name] = None
    return pa.array(list(found), paths.type)


def bytes_of(text: str | None) -> bytes | None:
    """Text as a value of FIXED."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def text_of(value: bytes | None) -> str | None:
    """The text of a value of FIXED."""
    return None if value is None else value.decode("utf-8", "surrogatepass")


def number_of(paths: Any, path: str) -> int | None:
    """Number of a path among sorted ones; None where it is not there."""
    wanted = bytes_of(path)
    number = bisect_left(paths, wanted, key=lambda value: value.as_py())
    return number if number < len(paths) and paths[number].as_py() == wanted else None


def rows_by_file(columns: Columns, rows: Int64Array) -> Iterator[list[int]]:
    """Numbers of rows, those of one audio file together, in the order in which the files first come."""
    if not len(rows):
        return
    files = codes_of(columns.fixed["file"])[rows]
    # With their sizes: an empty recording begins where the next one does.
    firsts, sizes = (
        pc.fill_null(columns.fixed[name].cast(pa.int64()), -1).to_numpy()[rows] for name in ("first", "size")
    )
    order = np.lexsort((sizes, firsts, files))  # which leaves rows of one file in their order
    is_next = (np.diff(files[order]) != 0) | (np.diff(firsts[order]) != 0) | (np.diff(sizes[order]) != 0)
    starts = np.concatenate([[0], np.flatnonzero(is_next) + 1])
    stops = np.append(starts[1:], len(rows))
    for group in np.argsort(order[starts]):
        yield rows[order[starts[group] : stops[group]]].tolist()


def codes_of(files: Any) -> npt.NDArray[np.int32]:
    """A number for the file of each row (rows,), another one for rows without; see FIXED."""
    found: npt.NDArray[np.int32] = pc.fill_null(files.indices, len(files.dictionary)).to_numpy()
    return found
