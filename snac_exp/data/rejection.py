"""What a verb could not use: one form for files and rows, their counts, and the list that each verb leaves."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.checked_parquet import parquet_writer, read_parquet

ROWS_AT_ONCE = 2**13  # of a table that is made of objects, or becomes them
TABLES_PER_GROUP = 16  # of a file of rows: a group is in memory whole, and encoded beside it

# Stated, not inferred from rows: an empty list of rejections has columns too.
REJECTED_SCHEMA = pa.schema([("path", pa.string()), ("kind", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file or row that was not used: its path relative to its folder, the kind of failure and what happened."""

    path: str
    kind: str
    reason: str


class HasKind(Protocol):
    """Whatever is counted by kind."""

    @property
    def kind(self) -> str: ...


def count_kinds(rejected: Iterable[HasKind]) -> dict[str, int]:
    """How many there are of each kind, by name."""
    return dict(sorted(Counter(item.kind for item in rejected).items()))


def counts_line(counts: Mapping[str, int], listed_in: Path) -> str:
    """The counts and where the reasons stand, for people: `rejected: silent 2, too_short 1 (FILE)`."""
    kinds = ", ".join(f"{kind} {num}" for kind, num in sorted(counts.items())) or "none"
    return f"rejected: {kinds} ({listed_in})"


def reason_lines(rejected: Iterable[Rejection]) -> list[str]:
    """One line for each, where there is no list to look into."""
    return [f"  {item.path}: {item.reason}" for item in rejected]


def write_rejections(path: Path, rejected: Iterable[Rejection]) -> None:
    """The list as a parquet file of REJECTED_SCHEMA, atomically."""
    write_table(path, map(asdict, rejected), REJECTED_SCHEMA)


def read_rejections(path: Path) -> list[Rejection]:
    """What `write_rejections` wrote; DataError if it is damaged."""

    def rows(file: pq.ParquetFile) -> list[Rejection]:
        return [Rejection(**row) for row in file.read().cast(REJECTED_SCHEMA).to_pylist()]

    return read_parquet(path, "list of rejections", "delete it, the same command then tries what it lists again", rows)


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Rows as one parquet file of a schema with a checksum, atomically; the same rows give the same bytes."""
    # Some at a time: of millions of rows, their values as objects would take gigabytes.
    several = iter(rows)
    parts = iter(lambda: list(islice(several, ROWS_AT_ONCE)), [])
    tables = (pa.Table.from_pylist(part, schema=schema) for part in parts)
    with parquet_writer(path, schema) as writer:
        # One without rows where there are none.
        while group := list(islice(tables, TABLES_PER_GROUP)) or [schema.empty_table()]:
            writer.write_table(pa.concat_tables(group).cast(writer.schema))
            if sum(map(len, group)) < ROWS_AT_ONCE * TABLES_PER_GROUP:
                break
