"""The manifest of a prepared folder: one row per usable recording, with its split.

A row's path is its name, and where it is a file of its own also the place of its audio. Other sources have the columns
of PLACE_SCHEMA behind those of SCHEMA, and behind these further ones, which stay with the row: text, language, ….
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.checked_parquet import NOT_READABLE, read_footer, read_parquet, write_parquet
from snac_exp.data.files.levels import Limits
from snac_exp.data.files.recording import Recording
from snac_exp.data.prepared.manifest_rows import SCHEMA, ManifestRow, ManifestRows
from snac_exp.data.prepared.mapped_table import read_mapped_table, write_mapped_table
from snac_exp.data.prepared.places import PLACE_SCHEMA, refuse_unsafe
from snac_exp.data.rejection import ROWS_AT_ONCE, write_table
from snac_exp.errors import DataError
from snac_exp.system.paths.kind import kind_of_file, refuse_file
from snac_exp.system.remote.urls import is_url

METADATA_KEY = b"snac_exp_manifest"
FILES_VERSION = 1  # of a manifest whose rows are files; raise both when columns or header change their meaning
FORMAT_VERSION = 2  # of one with further columns
MANIFEST_NAME = "manifest.parquet"
REJECTED_NAME = "rejected.parquet"
_KIND, _MEND = "manifest", "delete it and run snac-exp prepare again"


@dataclass(frozen=True)
class Manifest:
    """The usable recordings below `input_dir` and the settings that chose and split them.

    more: the columns of the table behind those of SCHEMA; none where all rows are files.
    """

    input_dir: Path
    settings: dict[str, Any]
    rows: ManifestRows
    more: pa.Schema = field(default_factory=lambda: pa.schema([]))

    @classmethod
    def read(cls, path: Path | str) -> "Manifest":
        """Read a manifest.parquet, or the one in a prepared folder; DataError if it is absent, foreign or unsafe."""
        path = _manifest_file(path)
        return read_parquet(path, _KIND, _MEND, partial(_manifest_of, path))

    @classmethod
    def with_audio(cls, path: Path | str, audio_root: str | None = None) -> "Manifest":
        """As `read`, with the folder where the files lie now; null: where they lay.

        Raises:
            DataError: that folder is not there: every single file would be called unreadable.
        """
        manifest = cls.read(path)
        if audio_root is not None and is_url(audio_root):
            raise DataError(f"audio_root={audio_root}: packed audio in a store has rows of its own, data={audio_root}")
        if audio_root is not None:
            refuse_other_pack(path, Path(audio_root).expanduser())
            manifest = replace(manifest, input_dir=Path(audio_root).expanduser().resolve())
        refuse_file(manifest.input_dir, "the folder that audio_root names", DataError)
        if not manifest.input_dir.is_dir():
            raise DataError(
                f"audio_root: no folder {manifest.input_dir}, where the files of {path} lay; set audio_root to where "
                "they lie on this machine"
            )
        return manifest

    def with_rows(self, rows: Iterable[ManifestRow]) -> "Manifest":
        """The same with other rows."""
        return replace(self, rows=ManifestRows.of(rows, self.more))

    def write(self, path: Path) -> None:
        """Write atomically; the same manifest gives the same bytes."""
        write_rows(path, self.rows, self.input_dir, self.settings, self.more)

    @property
    def digest(self) -> str:
        """SHA-1 over path, split and content of all rows: what a cache made of this manifest belongs to."""
        # NUL is in no path, so no two lists of rows give the same text.
        digest = hashlib.sha1(usedforsecurity=False)
        for path, split, sha1 in self.rows.tuples("path", "split", "sha1"):
            digest.update(f"{path}\0{split}\0{sha1}\n".encode())
        return digest.hexdigest()

    @property
    def limits(self) -> Limits:
        """Of the levels of its rows; those by default where it is older than they."""
        return Limits(**{name: self.settings[name] for name in ("max_peak", "min_mix") if name in self.settings})

    def recording(self, row: ManifestRow) -> Recording:
        """The audio of a row."""
        return row.place.below(self.input_dir)


def _with_header(schema: pa.Schema, input_dir: str, settings: Mapping[str, Any]) -> pa.Schema:
    version = FORMAT_VERSION if more_of(schema).names else FILES_VERSION
    header = {"version": version, "input_dir": input_dir, "settings": settings}
    return schema.with_metadata({METADATA_KEY: json.dumps(header, sort_keys=True).encode()})


def write_rows(
    path: Path, rows: Iterable[ManifestRow], input_dir: Path, settings: Mapping[str, Any], more: pa.Schema
) -> None:
    """As `Manifest.write`, of rows that are made one by one."""
    schema = _with_header(pa.schema([*SCHEMA, *more]), str(input_dir), settings)
    write_table(path, (row.values(schema) for row in rows), schema)


def write_manifest_table(path: Path, table: pa.Table, input_dir: str, settings: Mapping[str, Any]) -> None:
    """Write a manifest that is a table already, and beside it rows.arrow, which `open_manifest_table` maps.

    input_dir: where the files lie, from the manifest's own folder on; "." is that folder, wherever it is moved.
    """
    write_parquet(path, table.replace_schema_metadata(_with_header(table.schema, input_dir, settings).metadata))
    write_mapped_table(path, table)


def open_manifest_table(path: Path | str) -> tuple[pa.Table, dict[str, Any]]:
    """As `read_manifest_table`, mapped into memory where rows.arrow lies beside the manifest; strings may be large."""
    path = _manifest_file(path)
    mapped = read_mapped_table(path)
    return read_manifest_table(path) if mapped is None else (mapped, _read_header(path))


def input_dir_of(path: Path | str) -> Path:
    """Where a manifest says that its audio lies; no rows are read."""
    return Path(_read_header(_manifest_file(path))["input_dir"])


def is_manifest(path: Path) -> bool:
    """Whether a file of Parquet is a manifest; one that is damaged is none."""
    try:
        return METADATA_KEY in (pq.read_schema(path).metadata or {})
    except NOT_READABLE:
        return False


def is_packed(folder: Path) -> bool:
    """Whether a folder holds a manifest whose audio lies beside it."""
    return (folder / MANIFEST_NAME).is_file() and input_dir_of(folder) == folder.absolute()


def refuse_other_pack(path: Path | str, audio_root: Path) -> None:
    """DataError where `audio_root` is a packed folder and not `path`, whose rows have places of their own."""
    if is_packed(audio_root) and audio_root.resolve() != _manifest_file(path).parent.resolve():
        raise DataError(
            f"audio_root={audio_root} is a packed folder with rows of its own, and those of {path} lie elsewhere in "
            f"files: name {audio_root} in place of {path}, and leave audio_root out"
        )


def _read_header(path: Path) -> dict[str, Any]:
    return read_footer(path, _KIND, _MEND, lambda footer: _header_of(path, footer.metadata))


def more_of(schema: pa.Schema) -> pa.Schema:
    """The columns of a manifest's table behind those of SCHEMA."""
    return pa.schema(list(schema)[len(SCHEMA) :])


def read_manifest_table(path: Path | str) -> tuple[pa.Table, dict[str, Any]]:
    """The rows as a table of SCHEMA, and the header (input_dir, settings); errors as Manifest.read, paths unchecked."""
    path = _manifest_file(path)
    return read_parquet(path, _KIND, _MEND, partial(_table_of, path))


def _manifest_file(path: Path | str) -> Path:
    """The manifest in a prepared folder, or the file itself; DataError where there is none."""
    path = Path(path)
    folder = path.parent if path.name == MANIFEST_NAME else path
    path = path / MANIFEST_NAME if path.is_dir() else path
    if path.name != MANIFEST_NAME and kind_of_file(path) != "a file of Parquet":
        refuse_file(path, "a folder that snac-exp prepare wrote", DataError)
    if not path.exists():
        raise DataError(f"{path}: no manifest there; {_mend_of_absence(folder)}")
    return path


def _mend_of_absence(folder: Path) -> str:
    """What to do where a folder was named that has no manifest, by what is there."""
    if any(folder.glob("codes-*.parquet")):
        return f"these are codes; name the prepared folder that they were made of, perhaps {folder.parent}"
    if folder.is_dir() and any(folder.iterdir()):
        return f"if it holds audio, prepare it first: snac-exp prepare input={folder} output=PREPARED"
    return f"make one with: snac-exp prepare input=FOLDER output={folder}"


def _header_of(path: Path, metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    encoded = (metadata or {}).get(METADATA_KEY)
    if encoded is None:
        raise DataError(f"{path}: not written by snac-exp prepare; run it on the folder of audio")
    header: dict[str, Any] = json.loads(encoded)
    if not (isinstance(header["input_dir"], str) and isinstance(header["settings"], dict)):
        raise ValueError("a header without folder and settings")
    # Of a packed folder ".": it may be moved with its manifest.
    return header | {"input_dir": str(path.absolute().parent / header["input_dir"])}


def _table_of(path: Path, file: pq.ParquetFile) -> tuple[pa.Table, dict[str, Any]]:
    header, schema = _checked_header(path, file)
    return _checked_rows(file.read(), schema), header


def _manifest_of(path: Path, file: pq.ParquetFile) -> Manifest:
    header, schema = _checked_header(path, file)
    folder = Path(header["input_dir"])
    rows = ManifestRows.joined(schema, _safe_tables(file, schema, folder))
    return Manifest(folder, header["settings"], rows, more_of(schema))


def _safe_tables(file: pq.ParquetFile, schema: pa.Schema, folder: Path) -> Iterator[pa.Table]:
    for batch in file.iter_batches(ROWS_AT_ONCE, use_threads=False):
        table = _checked_rows(pa.Table.from_batches([batch]), schema)
        # A manifest from elsewhere must not lead to files outside of its folder.
        for name in {"path", "file"} & {*schema.names}:
            refuse_unsafe(folder, table[name])
        yield table


def _checked_header(path: Path, file: pq.ParquetFile) -> tuple[dict[str, Any], pa.Schema]:
    """The header, and the types that the columns must have."""
    found = file.schema_arrow
    header, more = _header_of(path, found.metadata), more_of(found)
    if found.names[: len(SCHEMA)] != SCHEMA.names:
        raise DataError(f"{path}: not written by snac-exp prepare; run it on the folder of audio")
    if header["version"] not in (FILES_VERSION, FORMAT_VERSION) or (header["version"] == FILES_VERSION and more.names):
        raise DataError(
            f"{path}: manifest format {header['version']}, this version reads up to {FORMAT_VERSION}; prepare again"
        )
    ours = pa.schema([*SCHEMA, *(PLACE_SCHEMA if more.names else ())])
    return header, pa.schema([*ours, *list(more)[len(ours) - len(SCHEMA) :]])


def _checked_rows(table: pa.Table, schema: pa.Schema) -> pa.Table:
    table = table.cast(schema)
    table.validate(full=True)
    # Further columns may be empty: not every row has a text.
    if any(table[name].null_count for name in (*SCHEMA.names, *PLACE_SCHEMA.names) if name in schema.names):
        raise ValueError("rows without a value")
    return table
