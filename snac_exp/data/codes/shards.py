"""The files of a code cache: names, columns and the metadata that says which codec the codes belong to.

A cache of N shards is the files codes-00000-of-0000N.parquet (zstd). A shard is whole or absent, and it carries the
list of the manifest rows that could not be cached, so the cache accounts for every row of its manifest.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from snac_exp.codec.geometry import Geometry
from snac_exp.data.checked_parquet import T, read_footer, read_parquet
from snac_exp.data.rejection import Rejection
from snac_exp.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

METADATA_KEY = b"snac_exp_cache"
FILES_VERSION = 1  # of shards whose rows are files; raise both when columns or metadata change their meaning
FORMAT_VERSION = 2  # of those with further columns
_KIND, _MEND = "code shard", "delete it and run the same cache-codes command again"
SHARD_NAME = re.compile(r"codes-(\d{5})-of-(\d{5})\.parquet")


@dataclass(frozen=True)
class CacheSpec:
    """What all shards of a cache must have in common: the codec, its geometry and the manifest.

    Where the audio lies may change; a folder can be moved between two runs.
    """

    codec_fingerprint: str
    codec_name: str
    sampling_rate: int
    hop_length: int
    vq_strides: tuple[int, ...]
    attn_window_size: int | None
    codebook_size: int
    manifest_digest: str
    audio_root: str = field(compare=False)

    @property
    def geometry(self) -> Geometry:
        """Geometry of the codec that wrote the codes."""
        return Geometry(self.sampling_rate, self.hop_length, self.vq_strides, self.attn_window_size)


@dataclass(frozen=True)
class ShardMetadata:
    """Everything a shard says about itself beside its rows."""

    spec: CacheSpec
    num_manifest_rows: int
    rejected: tuple[Rejection, ...]
    made_on: tuple[str, ...]
    version: int = FILES_VERSION

    def encode(self) -> dict[bytes, bytes]:
        """As Arrow schema metadata."""
        values = {
            "version": self.version,
            "identity": asdict(self.spec),
            "num_manifest_rows": self.num_manifest_rows,
            "rejected": [asdict(row) for row in self.rejected],
            "origin": self.made_on,
        }
        return {METADATA_KEY: json.dumps(values).encode()}


def shard_name(index: int, count: int) -> str:
    """File name of a shard, e.g. codes-00000-of-00003.parquet."""
    return f"codes-{index:05d}-of-{count:05d}.parquet"


def shard_schema(num_codebooks: int, more: pa.Schema | None = None) -> pa.Schema:
    """Columns of a shard. num_samples counts at the codec's rate; source_rate is the file's own, in Hz.

    more: further columns of the manifest, the last ones; see `Manifest`.
    """
    columns = [
        ("path", pa.string()),
        ("split", pa.string()),
        ("speaker", pa.string()),
        ("sha1", pa.string()),  # of the source file's bytes
        ("seconds", pa.float64()),
        ("num_samples", pa.int64()),
        ("source_rate", pa.int32()),
    ]
    codes = [(f"codes_{i}", pa.list_(pa.uint16())) for i in range(num_codebooks)]
    return pa.schema([*pa.schema(columns + codes), *(more or ())])


def more_of(schema: pa.Schema, num_codebooks: int) -> pa.Schema:
    """The further columns of a shard."""
    return pa.schema(list(schema)[len(shard_schema(num_codebooks)) :])


def read_metadata(path: Path) -> ShardMetadata:
    """Metadata of one shard; DataError if the file is no shard of a code cache of this format, or damaged."""
    return read_footer(path, _KIND, _MEND, lambda footer: _metadata_of(footer.metadata, path))


def num_rows_of(path: Path) -> int:
    """Rows with codes in a shard; errors as `read_metadata`."""
    return read_footer(path, _KIND, _MEND, lambda footer: int(footer.num_rows))


def read_shard(path: Path, read: "Callable[[pq.ParquetFile, ShardMetadata], T]") -> T:
    """What `read` takes from a shard, once its bytes match its checksum; errors as `read_metadata`."""

    def with_metadata(file: "pq.ParquetFile") -> T:
        return read(file, _metadata_of(file.schema_arrow.metadata, path))

    return read_parquet(path, _KIND, _MEND, with_metadata)


def _metadata_of(metadata: Mapping[bytes, bytes] | None, path: Path) -> ShardMetadata:
    encoded = (metadata or {}).get(METADATA_KEY)
    if encoded is None:
        raise DataError(f"{path}: not written by snac-exp cache-codes; make the cache with it in a folder of its own")
    return _decode_metadata(path, json.loads(encoded))


def list_shards(cache_dir: Path) -> list[Path]:
    """All shards of a cache in order; DataError if there is none, one is missing, or two layouts are mixed."""
    found = sorted(path for path in cache_dir.glob("codes-*.parquet") if SHARD_NAME.fullmatch(path.name))
    if not found:
        raise DataError(f"{cache_dir}: no code shards there")
    counts = {int(SHARD_NAME.fullmatch(path.name)[2]) for path in found}  # type: ignore[index]
    if len(counts) > 1:
        raise DataError(f"{cache_dir}: shards of {sorted(counts)} are mixed; keep one cache per folder")
    count = counts.pop()
    missing = [name for name in (shard_name(i, count) for i in range(count)) if not (cache_dir / name).exists()]
    if missing:
        raise DataError(
            f"{cache_dir}: incomplete, {len(missing)} of {count} shards are missing (first: {missing[0]});"
            " run the same cache-codes command again, it makes only what is missing"
        )
    return found


def common_spec(shards: list[Path]) -> CacheSpec:
    """The spec all shards share; DataError naming the first one that differs."""
    first = read_metadata(shards[0]).spec
    for path in shards[1:]:
        other = read_metadata(path).spec
        if other != first:
            raise DataError(
                f"{path}: {differences(first, other)} differ from {shards[0].name}; keep one cache per folder"
            )
    return first


def differences(one: CacheSpec, other: CacheSpec) -> str:
    """The fields that keep two identities from being equal, with both values."""
    left, right = asdict(one), asdict(other)
    # As `==` has it: where the audio lies makes no difference.
    return ", ".join(
        f"{key} ({left[key]} and {right[key]})" for key in left if key != "audio_root" and left[key] != right[key]
    )


def spec_of(value: dict[str, Any]) -> CacheSpec:
    """A spec as JSON gives it."""
    # JSON turns tuples into lists, which are never equal to tuples.
    return CacheSpec(**{**value, "vq_strides": tuple(value["vq_strides"])})


def _decode_metadata(path: Path, value: dict[str, Any]) -> ShardMetadata:
    if value.get("version") not in (FILES_VERSION, FORMAT_VERSION):
        raise DataError(
            f"{path}: cache format {value.get('version')}, this version reads up to {FORMAT_VERSION}; cache again"
        )
    return ShardMetadata(
        spec=spec_of(value["identity"]),
        num_manifest_rows=value["num_manifest_rows"],
        rejected=tuple(Rejection(**row) for row in value["rejected"]),
        made_on=tuple(value["origin"]),
        version=value["version"],
    )
