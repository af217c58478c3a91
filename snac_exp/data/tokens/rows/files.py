"""Files of rows: written whole, read row by row, those of others too."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.checked_parquet import NOT_READABLE, check_parquet, parquet_writer
from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path
from snac_exp.system.paths.kind import fault_of

Format = Literal["jsonl", "parquet"]
SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("attention_mask", pa.list_(pa.int8())),
        ("text", pa.string()),
        ("speaker", pa.string()),
        ("seconds", pa.float64()),
        ("path", pa.string()),
    ]
)
_ROWS_AT_ONCE = 64  # in memory as Python lists
_MEND = "export it again"


@dataclass(frozen=True)
class TokenRow:
    """One utterance.

    input_ids: of speech, with the specials of its layout around it. labels: what is scored, the same ids.
    attention_mask: ones. text: what is said. seconds: true length of the audio; the last frame may reach beyond it.
    path: of the audio, relative to its folder. What others leave out is None.
    """

    input_ids: list[int]
    labels: list[int] | None = None
    attention_mask: list[int] | None = None
    text: str | None = None
    speaker: str | None = None
    seconds: float | None = None
    path: str | None = None


def write_rows(path: Path, rows: Iterable[TokenRow]) -> None:
    """A .jsonl or .parquet file, which appears under its name once all rows are written."""
    if path.suffix == ".parquet":
        with parquet_writer(path, SCHEMA) as writer:
            remaining = iter(rows)
            while some := list(islice(remaining, _ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist([vars(row) for row in some], schema=writer.schema))
        return
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(vars(row), ensure_ascii=False, allow_nan=False) + "\n")


def read_rows(path: Path) -> Iterator[TokenRow]:
    """The rows of a .parquet or .jsonl file, or of a .json file that is one list of ids, or a list of such lists.

    Raises:
        DataError: not there, damaged, of another kind, or a row without whole numbers as input_ids; names the row.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise DataError(f"{path}: rows of ids are read from {', '.join(_READERS)}; give a file of such a name")
    number = 0
    try:
        for values in reader(path):
            yield _row_of(values, f"{path}, row {number}")
            number += 1
    except FileNotFoundError:
        raise DataError(f"there is no {path}") from None
    except (*NOT_READABLE, RecursionError) as error:
        raise DataError(f"{path}, row {number}: {fault_of(path, 'Parquet', 'JSON')} ({error}); {_MEND}") from None


def _parquet(path: Path) -> Iterator[Any]:
    check_parquet(path, "file of rows", _MEND)
    with pq.ParquetFile(path) as file:
        names = [name for name in SCHEMA.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=names):
            yield from batch.to_pylist()


def _jsonl(path: Path) -> Iterator[Any]:
    with open(path, encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _json(path: Path) -> Iterator[Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    several = isinstance(values, list) and values and all(isinstance(item, list | dict) for item in values)
    yield from values if several else [values]


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {".parquet": _parquet, ".jsonl": _jsonl, ".json": _json}


def _row_of(values: Any, where: str) -> TokenRow:
    """A row as it is written here, or a bare list of ids."""
    found = values if isinstance(values, Mapping) else {"input_ids": values}
    ids = found.get("input_ids")
    # A bool is an int to Python.
    if not isinstance(ids, list) or any(type(item) is not int for item in ids):
        raise DataError(f"{where}: input_ids must be a list of whole numbers; other columns are not read for ids")
    kinds = {"labels": list, "attention_mask": list, "text": str, "speaker": str, "seconds": float | int, "path": str}
    for name, kind in kinds.items():
        if found.get(name) is not None and not isinstance(found[name], kind):
            raise DataError(f"{where}: {name} is a {type(found[name]).__name__}; leave it out or mend it")
    return TokenRow(ids, **{name: found.get(name) for name in kinds})
