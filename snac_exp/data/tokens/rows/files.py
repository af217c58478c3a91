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
from snac_exp.data.tokens.rows.hf import SAVED_FILES, read_stream, saved_files, write_stream
from snac_exp.errors import DataError
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.text import TOKEN_BEGINS, ids_of_text
from snac_exp.system.files import atomic_path
from snac_exp.system.paths.kind import fault_of

Format = Literal["parquet", "jsonl", "hf"]
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
_KINDS = ("Parquet", "JSON")
EXPORT_FILE, REJECTED_FILE = "export.json", "rejected.parquet"
NO_ROWS = (EXPORT_FILE, REJECTED_FILE)
"""Files in the folder of an export that hold no rows."""


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
    """A .jsonl, .parquet or .arrow file, which appears under its name once all rows are written."""
    if path.suffix == ".arrow":
        return write_stream(path, SCHEMA, _tables(rows))
    if path.suffix == ".parquet":
        with parquet_writer(path, SCHEMA) as writer:
            for table in _tables(rows):
                writer.write_table(table.cast(writer.schema))
        return
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(vars(row), ensure_ascii=False, allow_nan=False) + "\n")


def _tables(rows: Iterable[TokenRow]) -> Iterator[pa.Table]:
    remaining = iter(rows)
    while some := list(islice(remaining, _ROWS_AT_ONCE)):
        yield pa.Table.from_pylist([vars(row) for row in some], schema=SCHEMA)


def row_files(source: Path) -> list[Path]:
    """The files of rows of a folder, in order: those that a folder of the datasets library names, or all there are.

    Raises:
        DataError: the folder is damaged, or holds none.
    """
    try:
        files = saved_files(source)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{source}: a folder of the datasets library that is damaged ({error!r}); {_MEND}") from None
    if files is None:
        # A list of rejected utterances lies beside what an export wrote.
        files = [path for path in sorted(source.iterdir()) if path.suffix in READERS and path.name not in NO_ROWS]
    if not files:
        raise DataError(f"{source}: no file of rows there ({', '.join(READERS)}); give the folder that holds them")
    return files


def holds_rows(path: Path) -> bool:
    """Whether a file is one of rows by its name; or a folder, what an export or the datasets library says of itself, or
    a file of rows at its top."""
    if path.is_file():
        return path.suffix in READERS
    marks = (EXPORT_FILE, *SAVED_FILES)
    return path.is_dir() and any(
        item.name in marks or (item.suffix in READERS and item.name not in NO_ROWS) for item in path.iterdir()
    )


def read_rows(path: Path, layout: Layout | None = None) -> Iterator[TokenRow]:
    """The rows of a .parquet, .jsonl or .arrow file, of a .json file that is one list of ids or a list of such lists,
    or of a .txt file with the `<custom_token_N>` of an utterance in each line.

    Args:
        layout: says which id N is; only a .txt needs it.

    Raises:
        DataError: not there, damaged, of another kind, or a row without whole numbers as input_ids; names the row.
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        raise DataError(f"{path}: rows of ids are read from {', '.join(READERS)}; give a file of such a name")
    number = 0
    try:
        for values in reader(path):
            ids = ids_of_text(values, _needed(layout, path)).tolist() if isinstance(values, str) else None
            yield _row_of(values if ids is None else ids, f"{path}, row {number}")
            number += 1
    except FileNotFoundError:
        raise DataError(f"there is no {path}") from None
    except (*NOT_READABLE, RecursionError) as error:
        raise DataError(f"{path}, row {number}: {fault_of(path, *_KINDS)} ({error}); {_MEND}") from None


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


def _txt(path: Path) -> Iterator[Any]:
    with open(path, encoding="utf-8") as file:
        if not any(TOKEN_BEGINS in line for line in file):
            raise DataError(
                f"{path} is a file of text without one {TOKEN_BEGINS}N>; give the tokens that a model wrote"
            )
        file.seek(0)
        yield from (line for line in file if line.strip())


READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".parquet": _parquet, ".jsonl": _jsonl, ".json": _json, ".arrow": read_stream, ".txt": _txt,
}  # fmt: skip


def _needed(layout: Layout | None, path: Path) -> Layout:
    if layout is None:
        raise DataError(f"{path}: a text of tokens has ids only in a layout; give one")
    return layout


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
            raise DataError(f"{where}: {name} is a {type(found[name]).__name__}; leave it out or fix it")
    return TokenRow(ids, **{name: found.get(name) for name in kinds})
