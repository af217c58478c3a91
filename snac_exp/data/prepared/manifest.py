"""The manifest of a prepared folder: one row per usable audio file, with its split."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.checked_parquet import read_parquet
from snac_exp.data.rejection import write_table
from snac_exp.errors import DataError
from snac_exp.system.paths.kind import kind_of_file, refuse_file

METADATA_KEY = b"snac_exp_manifest"
FORMAT_VERSION = 1  # raise it when columns or header change their meaning
MANIFEST_NAME = "manifest.parquet"
REJECTED_NAME = "rejected.parquet"

SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # relative to the input folder, with forward slashes
        ("split", pa.string()),  # train or validation
        ("speaker", pa.string()),
        ("seconds", pa.float64()),
        ("rate", pa.int32()),  # Hz
        ("channels", pa.int32()),
        ("num_samples", pa.int64()),  # per channel, at `rate`
        ("sha1", pa.string()),  # of the file's bytes
        ("peak", pa.float64()),  # largest magnitude of the mono mix, 1.0 = full scale
    ]
)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One usable file; the columns of SCHEMA."""

    path: str
    split: str
    speaker: str
    seconds: float
    rate: int
    channels: int
    num_samples: int
    sha1: str
    peak: float


@dataclass(frozen=True)
class Manifest:
    """The usable files of `input_dir` and the settings that chose and split them."""

    input_dir: Path
    settings: dict[str, Any]
    rows: list[ManifestRow]

    @classmethod
    def read(cls, path: Path | str) -> "Manifest":
        """Read a manifest.parquet, or the one in a prepared folder; DataError if it is absent, foreign or unsafe."""
        table, header = read_manifest_table(path)
        rows = [
            ManifestRow(*values) for values in zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True)
        ]
        manifest = cls(Path(header["input_dir"]), header["settings"], rows)
        # A manifest from elsewhere must not lead to files outside of its folder.
        for row in rows:
            safe_join(manifest.input_dir, row.path)
        return manifest

    @classmethod
    def with_audio(cls, path: Path | str, audio_root: str | None = None) -> "Manifest":
        """As `read`, with the folder where the files lie now; null: where they lay.

        Raises:
            DataError: that folder is not there: every single file would be called unreadable.
        """
        manifest = cls.read(path)
        if audio_root is not None:
            manifest = replace(manifest, input_dir=Path(audio_root).expanduser().resolve())
        refuse_file(manifest.input_dir, "the folder that audio_root names", DataError)
        if not manifest.input_dir.is_dir():
            raise DataError(
                f"audio_root: no folder {manifest.input_dir}, where the files of {path} lay; set audio_root to where "
                "they lie on this machine"
            )
        return manifest

    def write(self, path: Path) -> None:
        """Write atomically; the same manifest gives the same bytes."""
        header = {"version": FORMAT_VERSION, "input_dir": str(self.input_dir), "settings": self.settings}
        schema = SCHEMA.with_metadata({METADATA_KEY: json.dumps(header, sort_keys=True).encode()})
        write_table(path, map(asdict, self.rows), schema)

    @property
    def digest(self) -> str:
        """SHA-1 over path, split and content of all rows: what a cache made of this manifest belongs to."""
        # NUL is in no path, so no two lists of rows give the same text.
        lines = (f"{row.path}\0{row.split}\0{row.sha1}\n" for row in self.rows)
        return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()

    def file(self, row: ManifestRow) -> Path:
        """The audio file of a row."""
        return safe_join(self.input_dir, row.path)


def read_manifest_table(path: Path | str) -> tuple[pa.Table, dict[str, Any]]:
    """The rows as a table of SCHEMA, and the header (input_dir, settings); errors as Manifest.read, paths unchecked."""
    path = Path(path)
    path = path / MANIFEST_NAME if path.is_dir() else path
    if path.name != MANIFEST_NAME and kind_of_file(path) != "a file of Parquet":
        refuse_file(path, "a folder that snac-exp prepare wrote", DataError)
    if not path.exists():
        raise DataError(f"{path}: no manifest there; make one with: snac-exp prepare input=FOLDER output={path.parent}")
    return read_parquet(path, "manifest", "delete it and run snac-exp prepare again", partial(_table_of, path))


def _table_of(path: Path, file: pq.ParquetFile) -> tuple[pa.Table, dict[str, Any]]:
    metadata = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
    if metadata is None or file.schema_arrow.names != SCHEMA.names:
        raise DataError(f"{path}: not written by snac-exp prepare; run it on the folder of audio")
    header = json.loads(metadata)
    if header["version"] != FORMAT_VERSION:
        raise DataError(
            f"{path}: manifest format {header['version']}, this version reads {FORMAT_VERSION}; prepare again"
        )
    if not (isinstance(header["input_dir"], str) and isinstance(header["settings"], dict)):
        raise ValueError("a header without folder and settings")
    table = file.read().cast(SCHEMA)
    table.validate(full=True)
    if any(column.null_count for column in table.columns):
        raise ValueError("rows without a value")
    return table, header


def safe_join(folder: Path, relative: str) -> Path:
    """`folder / relative`; DataError if that could lie outside the folder (absolute path or `..`)."""
    # By its text alone: folders that are linked to from below the input are meant to be read.
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in relative:
        raise DataError(f"unsafe path {relative!r} for a file below {folder}; prepare the folder again")
    return folder / path
