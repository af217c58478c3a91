"""The rows of a manifest once more as one uncompressed Arrow file that is mapped, not read: rows.arrow beside it.

Decompressing millions of rows takes seconds and gigabytes in every process. The file is of the manifest whose checksum
it says, of no other, and is whole or absent; `snac-exp pack` writes it.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from snac_exp.data.checked_arrow import checksum_of
from snac_exp.data.checked_parquet import CHECKSUM, NOT_READABLE, read_footer
from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path

MAPPED_ROWS_NAME = "rows.arrow"
_METADATA_KEY, _CHECKSUM_KEY = b"snac_exp_mapped_rows", b"snac_exp_crc32"
_VERSION = 1


def write_mapped_table(manifest: Path, table: pa.Table) -> None:
    """Write rows.arrow beside a manifest that holds this table."""
    header = json.dumps({"version": _VERSION, "manifest": _identity(manifest)}).encode()
    columns = {name: _large(table[name]) for name in table.schema.names}
    batch = pa.RecordBatch.from_pydict(columns)
    checksum = f"{checksum_of(batch, header):08x}".encode()
    schema = batch.schema.with_metadata({_METADATA_KEY: header, _CHECKSUM_KEY: checksum})
    with (
        atomic_path(manifest.with_name(MAPPED_ROWS_NAME)) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as out,
    ):
        out.write_batch(batch.replace_schema_metadata(schema.metadata))


def read_mapped_table(manifest: Path) -> pa.Table | None:
    """The rows of a manifest out of the mapped file; None where there is none, or one of another manifest.

    Raises:
        DataError: it is damaged.
    """
    path = manifest.with_name(MAPPED_ROWS_NAME)
    if not path.exists():
        return None
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        header = reader.schema.metadata[_METADATA_KEY]
        values = json.loads(header)
        if values != {"version": _VERSION, "manifest": _identity(manifest)}:
            return None
        batch = reader.get_batch(0)
        batch.validate()
        sound = f"{checksum_of(batch, header):08x}".encode() == reader.schema.metadata[_CHECKSUM_KEY]
    except NOT_READABLE as error:
        raise DataError(f"{path}: not a file of mapped rows ({error}); delete it, the manifest is read then") from error
    if not sound:
        raise DataError(f"{path}: damaged, its rows do not match their checksum; delete it, the manifest is read then")
    return pa.Table.from_batches([batch.replace_schema_metadata(None)])


def _identity(manifest: Path) -> str:
    """What tells a manifest from others: the checksums that its footer holds, of itself and of the rows."""
    return read_footer(manifest, "manifest", "prepare or pack again", lambda footer: _text(footer.metadata[CHECKSUM]))


def _text(checksum: Any) -> str:
    return bytes(checksum).decode()


def _large(column: Any) -> Any:
    """One array, strings with 64-bit offsets: all paths together may be more than 2 GB."""
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return whole.cast(pa.large_string()) if pa.types.is_string(whole.type) else whole
