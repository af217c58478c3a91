"""Hugging Face audio data sets on this machine: files of Parquet or Arrow, with audio as bytes or as paths.

Bytes in Arrow files are read where they lie, those of Parquet in a tar that is made of them once, see unpacked.py.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.checked_parquet import NOT_READABLE
from snac_exp.data.files.listed_table import Found
from snac_exp.data.files.listing import UNKNOWN_SPEAKER, Listing, listing_of
from snac_exp.data.files.recording import Bytes
from snac_exp.data.sources.arrow_bytes import open_arrow
from snac_exp.data.sources.names import Names, columns_line
from snac_exp.data.sources.paths import placed_path
from snac_exp.data.sources.unpacked import UNPACKED_DIR, unpack
from snac_exp.errors import DataError

TABLES = (".parquet", ".arrow")
_CALLED = ("audio", "file", "path", "audio_path", "file_name")  # columns of bytes or paths by their names
_MEANINGS = (
    "audio",
    "speaker",
    "text",
    "language",
    "split",
)  # offset and duration are columns like others: audio is whole
_NO_PLACE: tuple[int, Bytes | None] = -1, None
_SPLIT = re.compile(r"(?:^|[-_./])(train|training|validation|valid|val|dev|eval|test)(?=[-_./]|$)")


def read_tables(
    root: Path, source: str, tables: Sequence[Path], columns: Mapping[str, str], output_dir: Path
) -> Listing:
    """The rows of the tables of a data set below `root`; bytes of Parquet are written below `output_dir`.

    Raises:
        DataError: a table without a column of audio (names the columns), or one that is damaged.
    """
    audio, there = {}, dict[str, None]()
    for table in tables:
        with _named(table):
            schema = _schema_of(table)
        audio[table] = audio_column(table, schema, columns)
        there |= dict.fromkeys(schema.names)
    names = Names.chosen(there, {"audio": audio[tables[-1]], **columns}, source)
    names = Names({meaning: name for meaning, name in names.of.items() if meaning in _MEANINGS})

    def rows() -> Iterator[Found]:
        for table in tables:
            with _named(table):
                yield from _rows(table, table.relative_to(root).as_posix(), audio[table], names, output_dir)

    return listing_of(root, source, rows(), names.lines(there))


@contextmanager
def _named(table: Path) -> Iterator[None]:
    try:
        yield
    except NOT_READABLE as error:
        raise DataError(
            f"{table}: damaged, or no {table.suffix[1:]} ({str(error).splitlines()[0]}); replace it"
        ) from error


def _schema_of(table: Path) -> pa.Schema:
    return pq.read_schema(table) if table.suffix == ".parquet" else open_arrow(table).schema


def audio_column(table: Path, schema: pa.Schema, columns: Mapping[str, str]) -> str:
    """As named, else a column of struct<bytes, path>, or of bytes or paths that is called so.

    Raises:
        DataError: there is none; names the columns.
    """
    if columns.get("audio") in schema.names:
        return columns["audio"]
    structs = [field.name for field in schema if _is_audio(field.type)]
    plain = [name for name in _CALLED if name in schema.names and _is_plain(schema.field(name).type)]
    found = [*(name for name in structs if name == "audio"), *structs, *plain]
    if "audio" in columns or not found:
        kind = "Parquet" if table.suffix == ".parquet" else "Arrow"
        wanted = f" {columns['audio']!r}" if "audio" in columns else ""
        raise DataError(
            f"{table}: a file of {kind} without an audio column{wanted}: {columns_line(schema.names)}; name it with "
            "columns={audio: NAME}"
        )
    return str(found[0])


def _is_audio(kind: Any) -> bool:
    return pa.types.is_struct(kind) and any(
        kind.field(i).name == "bytes" and _is_binary(kind.field(i).type) for i in range(kind.num_fields)
    )


def _is_plain(kind: Any) -> bool:
    return _is_binary(kind) or bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _rows(table: Path, relative: str, audio: str, names: Names, output_dir: Path) -> Iterator[Found]:
    """The rows of one table."""
    schema = _schema_of(table)
    further = [field.name for field in schema if field.name != audio and not _is_audio(field.type)]
    further = [name for name in further if not _is_binary(schema.field(name).type)]
    labels, unpacked = _labels(schema), output_dir / UNPACKED_DIR / f"{relative}.tar"
    read = (
        _of_parquet(table, audio, schema, further, unpacked)
        if table.suffix == ".parquet"
        else _of_arrow(table, audio, further)
    )
    split = _split_of(relative)
    for number, (within, path, columns) in enumerate(read):
        file: str | None = str(unpacked if table.suffix == ".parquet" else table)
        if within is None:
            file = placed_path(path, table.parent) if path else None
        named = {name: _label(value, labels.get(name)) for name, value in columns.items()}
        if within is not None and path is not None:
            named.setdefault(f"{audio}_path", path)  # the file that the bytes were
        yield Found(
            file=file,
            path=f"{relative}/{number:08d}",
            within=within,
            speaker=names.speaker(named) or UNKNOWN_SPEAKER,
            split=names.split(named) or split,
            columns=names.further(named),
            fault="has neither bytes nor a path" if file is None else None,
        )


_Row = tuple[Bytes | None, str | None, Mapping[str, Any]]
"""The place of a row's bytes, its path where it has none of these, its columns."""


def _of_parquet(table: Path, audio: str, schema: pa.Schema, further: list[str], unpacked: Path) -> Iterator[_Row]:
    kind = schema.field(audio).type
    has_path = pa.types.is_struct(kind) and any(kind.field(i).name == "path" for i in range(kind.num_fields))
    has_bytes = _is_audio(kind) or _is_binary(kind)
    places = unpack(table, audio, unpacked) if has_bytes else iter(())
    # Of the audio its path alone: the bytes would fill the memory.
    wanted = [*further, *([f"{audio}.path"] if has_path else [] if has_bytes else [audio])]
    # Rows without bytes have no place, the others have one each, in their order.
    number, (placed, place) = 0, next(places, _NO_PLACE)
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                value = row.pop(audio, None)
                path = value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None
                yield place if placed == number else None, path, row
                if placed == number:
                    placed, place = next(places, _NO_PLACE)
                number += 1


def _of_arrow(table: Path, audio: str, further: list[str]) -> Iterator[_Row]:
    file = open_arrow(table)
    kind = file.schema.field(audio).type
    for batch in file.batches:
        places = file.places(batch, audio) if _is_audio(kind) or _is_binary(kind) else iter([None] * len(batch))
        values = batch.column(audio)
        paths = values if _is_plain(kind) else values.field("path") if kind.get_field_index("path") >= 0 else None
        texts = paths.to_pylist() if paths is not None and not _is_binary(kind) else [None] * len(batch)
        yield from zip(places, texts, batch.select(further).to_pylist(), strict=True)


def _labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes of columns that hold numbers of classes, as `datasets` notes them in the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: item["names"] for name, item in features.items() if item.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, AttributeError, TypeError):
        return {}  # no data set of that library, or of a version that notes otherwise: numbers stay numbers


def _label(value: Any, names: Sequence[str] | None) -> Any:
    return names[value] if names is not None and isinstance(value, int) and 0 <= value < len(names) else value


def _split_of(path: str) -> str | None:
    """The split that a file of a data set is named after."""
    found = _SPLIT.findall(path)
    return found[-1] if found else None
