"""What a source lists before anything is measured: rows, where their audio should lie, and what is known of them."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.data.files.listed_table import (
    FIXED,
    ROWS_AT_ONCE,
    Columns,
    Found,
    Int64Array,
    bytes_of,
    codes_of,
    each_once,
    mapped,
    number_of,
    rows_by_file,
    text_of,
    values_of,
)
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

    def each(self, indexes: Int64Array) -> Iterator[Listed]:
        """Some of the rows, in this order; of many faster than one by one."""
        ...

    def number_of(self, path: str) -> int | None:
        """Number of the row of a path; None where there is none."""
        ...

    def by_file(self, indexes: Int64Array) -> Iterator[list[int]]:
        """Some of the rows, those of one audio file together: it is decoded once for all of them."""
        ...

    def splits(self) -> dict[str, int]:
        """How many rows are of each split that the source has."""
        ...


class WholeFiles:
    """Rows that are whole files, out of their sorted paths: of millions, each is made when it is asked for."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int, /) -> Listed:
        return Listed(self._paths[index], self._paths[index])

    def each(self, indexes: Int64Array) -> Iterator[Listed]:
        """One by one."""
        return (self[index] for index in map(int, indexes))

    def number_of(self, path: str) -> int | None:
        """By halves."""
        number = bisect_left(self._paths, path)
        return number if number < len(self._paths) and self._paths[number] == path else None

    def by_file(self, indexes: Int64Array) -> Iterator[list[int]]:
        """Each by itself."""
        return ([int(index)] for index in indexes)

    def splits(self) -> dict[str, int]:
        """A folder has none."""
        return {}


class TableRows:
    """Rows out of columns in the order of their paths: each is made when it is asked for."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._arrays = [*(columns.fixed[name] for name in FIXED.names), *columns.further.values()]

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __getitem__(self, index: int, /) -> Listed:
        return self._row(*(array[index].as_py() for array in self._arrays))

    def each(self, indexes: Int64Array) -> Iterator[Listed]:
        """Some at a time."""
        for start in range(0, len(indexes), ROWS_AT_ONCE):
            some = pa.array(indexes[start : start + ROWS_AT_ONCE])
            yield from map(self._row, *(values_of(array.take(some)) for array in self._arrays))

    def _row(self, *values: Any) -> Listed:
        path, file, first, size, offset, duration, channel, speaker, split, fault, *further = values
        name, below = text_of(path) or "", text_of(file) or ""
        return Listed(
            path=name,
            file=below,
            within=None if first is None else Bytes(first, size, name.removeprefix(f"{below}/")),
            offset=offset,
            duration=duration,
            channel=channel,
            speaker=text_of(speaker),
            columns=dict(zip(self._columns.further, further, strict=True)),
            split=text_of(split),
            fault=text_of(fault),
        )

    def number_of(self, path: str) -> int | None:
        """By halves."""
        return number_of(self._arrays[0], path)

    def by_file(self, indexes: Int64Array) -> Iterator[list[int]]:
        """In the order in which the files first come."""
        return rows_by_file(self._columns, indexes)

    def splits(self) -> dict[str, int]:
        """As the source calls them."""
        counts = pc.value_counts(self._columns.fixed["split"]).to_pylist()
        named = {text_of(count["values"]): count["counts"] for count in counts}
        return {name: num for name, num in sorted(named.items(), key=str) if name is not None}


@dataclass(frozen=True)
class Listing:
    """All rows of a source, by their paths.

    root: folder below which their files lie. input: what the user named. more: null for a folder of files, whose rows
    have no further columns; else the types of those. commit: of a data set of the hub that was streamed. told: lines
    for people about how the source was read.
    """

    root: Path
    input: str
    rows: RowsListed
    more: pa.Schema | None = None
    commit: str | None = None
    told: tuple[str, ...] = ()


def listing_of(base: Path, source: str, rows: Iterable[Found], told: tuple[str, ...] = ()) -> Listing:
    """The listing of a source that is no folder of files: its rows by path, each path once, columns of one type.

    base: the root where all files lie below it, else the innermost folder that holds them.
    """
    columns = Columns.of(source, rows)
    if not len(columns.fixed["path"]):
        raise DataError(f"{source}: lists no audio")
    root = _common_root(base, columns.fixed["file"])
    before = len(bytes_of(os.path.join(root, "")) or b"")
    files = columns.fixed["file"]
    below = mapped(lambda file: file[before:], files.dictionary)
    columns.fixed["file"] = pa.DictionaryArray.from_arrays(files.indices, below)
    # Equal audio is rejected later as a duplicate.
    paths = each_once(_named(columns.fixed))
    types = {name: array.type for name, array in columns.further.items()}
    # Text as manifests have it: in parts, which need no 64-bit offsets.
    more = pa.schema([(name, pa.string() if kind == pa.large_string() else kind) for name, kind in types.items()])
    return Listing(root, source, TableRows(columns.sorted_by(paths)), more, told=told)


def segment_path(file: str, offset: float, duration: float | None) -> str:
    """Name of a row that is a part of a file: the file's and the milliseconds from and to."""
    if offset == 0 and duration is None:
        return file
    end = "end" if duration is None else f"{round(1000 * (offset + duration)):08d}"
    return f"{file}/{round(1000 * offset):08d}-{end}"


def _common_root(base: Path, files: Any) -> Path:
    """`base` where all files lie below it, else the innermost folder that holds them and it not necessarily."""
    # What the first and the last by their text have in common, all between them have.
    ends = pc.min_max(files.dictionary)
    both = [Path(text) for text in map(text_of, (ends["min"].as_py(), ends["max"].as_py())) if text is not None]
    if all(file.is_relative_to(base) for file in both):
        return base
    return Path(os.path.commonpath([file.parent for file in both]))


def _named(fixed: Mapping[str, Any]) -> Any:
    """The paths of rows; those without one are named after their file, and their place if another one is of it too."""
    paths, files = fixed["path"], fixed["file"]
    if not paths.null_count:
        return paths
    codes = codes_of(files)
    once = pa.array(np.bincount(codes)[codes] == 1)

    def name(path: bytes | None, file: bytes, once: bool, offset: float, duration: float | None) -> bytes | None:
        if path is not None or (once and not offset):
            return path or file
        return bytes_of(segment_path(text_of(file) or "", offset, duration))

    return mapped(name, paths, files, once, fixed["offset"], fixed["duration"])
