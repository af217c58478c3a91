"""The rows of a manifest as columns, made objects when they are asked for: of millions, these would take gigabytes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from snac_exp.data.prepared.places import PLACE_SCHEMA, Place, place_of
from snac_exp.data.rejection import ROWS_AT_ONCE

Int64Array = npt.NDArray[np.int64]
SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # name of the row, with forward slashes; of a file, its path below the input folder
        ("split", pa.string()),  # train or validation
        ("speaker", pa.string()),
        ("seconds", pa.float64()),
        ("rate", pa.int32()),  # Hz
        ("channels", pa.int32()),
        ("num_samples", pa.int64()),  # per channel, at `rate`
        ("sha1", pa.string()),  # of the file's bytes; of a segment, of these and its place
        ("peak", pa.float64()),  # largest magnitude of the mono mix, 1.0 = full scale
    ]
)
_REPEATED = ("split", "speaker")  # the same in many rows: kept once
_NO_COLUMNS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One usable recording: the columns of SCHEMA, and further ones.

    placed: where its audio lies; null = in the file of its path.
    """

    path: str
    split: str
    speaker: str
    seconds: float
    rate: int
    channels: int
    num_samples: int
    sha1: str
    peak: float
    placed: Place | None = None
    columns: Mapping[str, Any] = field(default_factory=lambda: _NO_COLUMNS, hash=False)

    @property
    def place(self) -> Place:
        """Where its audio lies below the folder of audio."""
        return self.placed or Place(self.path)

    def values(self, schema: pa.Schema) -> dict[str, Any]:
        """Its values in the columns of a schema: those of SCHEMA, of PLACE_SCHEMA, and further ones."""
        found = {name: getattr(self, name) for name in SCHEMA.names}
        if "file" in schema.names:
            found |= self.place.columns(self.num_samples) | dict(self.columns)
        return {name: found.get(name) for name in schema.names}


class ManifestRows(Sequence[ManifestRow]):
    """The rows of a table of SCHEMA, and of further columns behind it."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @classmethod
    def of(cls, rows: Iterable[ManifestRow], more: pa.Schema) -> "ManifestRows":
        """Of objects; more: the columns behind those of SCHEMA."""
        schema = pa.schema([*SCHEMA, *more])
        return cls.joined(schema, [pa.Table.from_pylist([row.values(schema) for row in rows], schema)])

    @classmethod
    def joined(cls, schema: pa.Schema, tables: Iterable[pa.Table]) -> "ManifestRows":
        """Of tables of one schema, one after the other; each column is one array, so that a row is found at once."""
        parts: dict[str, list[Any]] = {name: [] for name in schema.names}
        for table in tables:
            for name in schema.names:
                parts[name] += _compact(name, table[name]).chunks
        # Of each column the parts go before those of the next are joined: all twice would be twice as much.
        return cls(pa.table({name: _one_array(schema.field(name), parts.pop(name)) for name in schema.names}))

    def column(self, name: str) -> Any:
        """The values of all rows, an Arrow array."""
        return self._table[name].chunk(0)

    def numbers(self, name: str) -> Int64Array:
        """The whole numbers (rows,) of a column."""
        found: Int64Array = self.column(name).to_numpy().astype(np.int64)
        return found

    def take(self, numbers: Sequence[int] | Int64Array) -> list[ManifestRow]:
        """Some of the rows, in this order."""
        return list(_rows_of(self._table.take(pa.array(numbers, pa.int64()))))

    def tuples(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """The values of some columns, row by row."""
        for batch in self._table.select(list(names)).to_batches(ROWS_AT_ONCE):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[ManifestRow]:
        for batch in self._table.to_batches(ROWS_AT_ONCE):
            yield from _rows_of(batch)

    @overload
    def __getitem__(self, index: int) -> ManifestRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[ManifestRow]: ...
    def __getitem__(self, index: int | slice) -> ManifestRow | list[ManifestRow]:
        """A row, or a list of some."""
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        return self.take([range(len(self))[index]])[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ManifestRows) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _compact(name: str, column: Any) -> Any:
    """Values that come again and again once, other text with 64-bit offsets: all of it may be more than 2 GB."""
    if name in _REPEATED:
        return column.dictionary_encode()
    return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column


def _one_array(field: pa.Field, chunks: list[Any]) -> Any:
    return pa.concat_arrays(chunks or _compact(field.name, pa.chunked_array([[]], field.type)).chunks)


def _rows_of(table: Any) -> Iterator[ManifestRow]:
    """The rows of a table, or batch, as objects."""
    names = table.schema.names
    columns = {name: table[name].to_pylist() for name in names}
    further = [name for name in names[len(SCHEMA) :] if name not in PLACE_SCHEMA.names]
    placed = "file" in columns
    for number, values in enumerate(zip(*(columns[name] for name in SCHEMA.names), strict=True)):
        row = ManifestRow(*values)
        if placed:
            place = place_of(row.path, *(columns[name][number] for name in PLACE_SCHEMA.names))
            row = replace(row, placed=place, columns={name: columns[name][number] for name in further})
        yield row
