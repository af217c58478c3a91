"""The file format of codes.arrow: one record batch that is mapped into memory, with checksums.

Columns: path, split, speaker, num_samples, the further ones of the shards, codes_i (large lists of uint16) and crc32,
that of a row's tokens, codebook after codebook. The schema's metadata holds the CRC-32 of all else: header, names,
types and every buffer but those of the tokens. That one is compared when the file is opened, and a row's when the row
is first used: tokens are gigabytes that a run may never read. Files of format 1 have neither; their offsets are
checked, so that nothing outside is read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from snac_exp.data.checked_arrow import checksum_of
from snac_exp.data.checked_parquet import NOT_READABLE
from snac_exp.data.codes.shards import CacheSpec, spec_of
from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path

MAPPED_NAME = "codes.arrow"
METADATA_KEY = b"snac_exp_mapped_codes"
CHECKSUM_KEY = b"snac_exp_crc32"
FORMAT_VERSION = 3
ROW_COLUMNS = ("path", "split", "speaker", "num_samples")
ROW_CHECKSUM = "crc32"
MEND = "delete it and the next opening makes it again from the shards"

_VERSIONS = (1, 2, FORMAT_VERSION)
_FIRST_WITH_CHECKSUMS = 2
_TEXT = ("path", "split", "speaker")


@dataclass(frozen=True)
class MappedCodes:
    """An open codes.arrow: its batch, what all shards have in common, and whether rows have checksums.

    more: names of the further columns.
    """

    path: Path
    batch: Any
    spec: CacheSpec
    made_on: frozenset[tuple[str, ...]]
    has_checksums: bool
    more: tuple[str, ...] = ()


def write_mapped(
    path: Path,
    columns: Mapping[str, Any],
    spec: CacheSpec,
    made_on: set[tuple[str, ...]],
    stamp: str,
    more: Sequence[str] = (),
) -> None:
    """Write all columns atomically. stamp: tells the shards that they are of. more: names of further columns."""
    values: dict[str, Any] = {"version": _FIRST_WITH_CHECKSUMS, "stamp": stamp, "identity": asdict(spec)}
    values["origins"] = sorted(made_on)
    if more:
        values |= {"version": FORMAT_VERSION, "more": list(more)}
    header = json.dumps(values).encode()
    batch = pa.RecordBatch.from_pydict(dict(columns))
    checksum = f"{checksum_of(batch, header):08x}".encode()
    schema = batch.schema.with_metadata({METADATA_KEY: header, CHECKSUM_KEY: checksum})
    with atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
        # A single batch, so that every column is one array and a row is found by its offsets.
        out.write_batch(batch.replace_schema_metadata(schema.metadata))


def read_mapped(path: Path, stamp: str) -> MappedCodes | None:
    """The mapped file, if it is there and of these shards.

    Raises:
        DataError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        encoded = reader.schema.metadata[METADATA_KEY]
        header = json.loads(encoded)
        if header["version"] not in _VERSIONS or header["stamp"] != stamp:
            return None
        spec = spec_of(header["identity"])
        made_on = frozenset(tuple(one) for one in header["origins"])
        has_checksums = header["version"] >= _FIRST_WITH_CHECKSUMS
        mapped = MappedCodes(path, reader.get_batch(0), spec, made_on, has_checksums, tuple(header.get("more", ())))
        problem = _problem(mapped, encoded)
    except NOT_READABLE as error:
        raise DataError(f"{path}: not a file of mapped codes ({str(error).splitlines()[:1]}); {MEND}") from error
    if problem:
        raise DataError(f"{path}: damaged ({problem}); {MEND}")
    return mapped


def _problem(mapped: MappedCodes, header: bytes) -> str | None:
    """What keeps a batch from being read without care."""
    batch = mapped.batch
    if {field.name: field.type for field in batch.schema if field.name not in mapped.more} != _types(mapped):
        return "its columns are not those of mapped codes"
    batch.validate(full=not mapped.has_checksums)
    if mapped.has_checksums:
        if f"{checksum_of(batch, header):08x}".encode() != batch.schema.metadata[CHECKSUM_KEY]:
            return "its rows do not match their checksum"
    elif any(column.null_count for column in batch.columns):
        return "rows without a value"
    for i in range(len(mapped.spec.vq_strides)):
        lists = batch.column(f"codes_{i}")
        if len(lists) and int(lists.offsets[-1].as_py()) > len(lists.values):
            return f"tokens of codebook {i} are missing"
    return None


def _types(mapped: MappedCodes) -> dict[str, Any]:
    types = {name: pa.large_string() if name in _TEXT else pa.int64() for name in ROW_COLUMNS}
    types |= {f"codes_{i}": pa.large_list(pa.uint16()) for i in range(len(mapped.spec.vq_strides))}
    return types | ({ROW_CHECKSUM: pa.uint32()} if mapped.has_checksums else {})
