"""A packed folder: packed shards and a manifest of the same rows that says where in them each lies.

It is used wherever a prepared folder is. The rows keep their names, splits, order and further columns; with the bytes
kept as they are it has the same digest too, so that codes of the prepared folder are codes of this one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.data.files.recording import sha1_of_segment
from snac_exp.data.packed.names import ANY_SHARD
from snac_exp.data.packed.packing import Packing, Spans
from snac_exp.data.packed.plan import PackOptions
from snac_exp.data.packed.sources import UNLISTED, ManifestFiles
from snac_exp.data.prepared.manifest import MANIFEST_NAME, is_packed, more_of, read_manifest_table, write_manifest_table
from snac_exp.data.prepared.manifest_rows import SCHEMA
from snac_exp.data.prepared.places import PLACE_SCHEMA
from snac_exp.data.shares import share
from snac_exp.data.slices.splits import existing_folder
from snac_exp.errors import ConfigError, DataError


@dataclass(frozen=True)
class PackSummary:
    """What one call did."""

    folder: Path
    num_rows: int
    num_files: int
    num_bytes: int
    num_shards: int
    num_written: int
    num_missing: int
    num_checked: int | None

    @property
    def lines(self) -> list[str]:
        """The summary for people."""
        kept = self.num_shards - self.num_missing - self.num_written
        lines = [
            f"{self.folder}: {self.num_rows} rows in {self.num_files} files, {self.num_bytes / 10**9:.2f} GB",
            f"{self.num_shards} shards, {self.num_written} written, {kept} there already",
        ]
        if self.num_missing:
            lines.append(
                f"{self.num_missing} shards are not there yet: when all parts are done, the same with merge=true"
            )
        if self.num_checked is not None:
            lines.append(f"all {self.num_checked} files are as they were packed, by their SHA-256")
        return lines


def pack_folder(
    prepared: Path,
    output: Path,
    options: PackOptions,
    *,
    audio_root: str | None = None,
    shard: tuple[int, int] = (0, 1),
    merge: bool = False,
    check: bool = False,
    num_readers: int = 4,
) -> PackSummary:
    """Pack the audio of a prepared folder; part `shard` = (index, count) of the shards, or with `merge` none of them.

    Shards that are there are kept. The manifest is written once all are. check: compare all files with their SHA-256.

    Raises:
        DataError: a file is missing or no longer the one that was prepared; `output` holds another packing or a
            prepared folder; damage.
        ConfigError: there is no such part, or `output` is the prepared folder.
    """
    if output.resolve() == prepared.resolve():
        raise ConfigError(f"output={output} is the folder that is packed; choose another output folder")
    table, header = read_manifest_table(prepared)
    source = existing_folder("audio_root", audio_root or header["input_dir"])
    return pack_table(table, source, header["settings"], output, options, shard, merge, check, num_readers)


def pack_table(
    table: pa.Table,
    source: Path,
    settings: dict[str, Any],
    output: Path,
    options: PackOptions,
    shard: tuple[int, int],
    merge: bool,
    check: bool,
    num_readers: int,
) -> PackSummary:
    """The same of a manifest's table whose audio lies below `source`; settings: of the manifest that is written."""
    _refuse_foreign(output)
    files = ManifestFiles.of(table, source)
    packing = Packing.begin(files, output, options)
    num_written = 0 if merge else packing.write(share(packing.plan.num_shards, *shard), num_readers)
    missing = packing.missing()
    if merge and missing:
        raise DataError(f"{output}: {packing.path(missing[0]).name} is missing; pack its part without merge=true")
    if not missing:
        write_manifest_table(output / MANIFEST_NAME, _packed_table(packing, files), ".", settings)
    return PackSummary(
        folder=output,
        num_rows=len(table),
        num_files=len(files.names),
        num_bytes=sum(packing.path(shard).stat().st_size for shard in packing.there()),
        num_shards=packing.plan.num_shards,
        num_written=num_written,
        num_missing=len(missing),
        num_checked=packing.check() if check and not missing else None,
    )


def _refuse_foreign(output: Path) -> None:
    """DataError where a folder holds a manifest that no packing wrote, whose place that of a packing would take; or
    other files and no shards: what refers to them would read the folder as packed."""
    if any(output.glob("[!.]*")) and not any(output.rglob(ANY_SHARD)) and not (output / MANIFEST_NAME).exists():
        raise DataError(f"{output}: holds other files; choose another output folder")
    if (output / MANIFEST_NAME).exists() and not is_packed(output):
        raise DataError(f"{output}: holds {MANIFEST_NAME} of a prepared folder; choose another output folder")


def _packed_table(packing: Packing, files: ManifestFiles) -> pa.Table:
    """The manifest's table, its rows at their places in the shards."""
    spans, table = packing.spans(), files.table
    columns = {name: table[name] for name in SCHEMA.names}
    if packing.options.audio != "keep" or UNLISTED in pc.unique(table["sha1"]).to_pylist():
        columns["sha1"] = pa.array(_sha1s(files, spans))
    columns |= place_columns(packing, spans, files)
    further = [field for field in more_of(table.schema) if field.name not in PLACE_SCHEMA.names]
    columns |= {field.name: table[field.name] for field in further}
    return pa.table(columns, schema=pa.schema([*SCHEMA, *PLACE_SCHEMA, *further]))


def place_columns(packing: Packing, spans: Spans, files: ManifestFiles) -> dict[str, Any]:
    """Columns of PLACE_SCHEMA: the span of each row's file, and the segment that the row is of it."""
    table, rows = files.table, files.file_of
    length = table["num_samples"]
    columns = {
        "file": packing.shard_column(spans, rows),
        "first_byte": pa.array(spans.first[rows]),
        "num_bytes": pa.array(spans.size[rows]),
        "start": pa.array(np.zeros(len(table), np.int64)),
        "stop": length,
        "file_samples": length,
    }
    return columns | {name: table[name] for name in ("start", "stop", "file_samples") if name in table.schema.names}


def _sha1s(files: ManifestFiles, spans: Spans) -> list[str]:
    """Of every row, by what its file became."""
    found = []
    for row, file in enumerate(files.file_of.tolist()):
        segment, sha1 = files.place(row).segment, spans.sha1[file]
        found.append(sha1 if segment is None else sha1_of_segment(sha1, segment))
    return found
