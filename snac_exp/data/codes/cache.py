"""Encode a prepared folder once: the full codes of every utterance, in shards that are whole or absent.

Finished shards are kept, so an interrupted run continues, and several processes or GPUs can divide the work.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from snac_exp.data.checked_parquet import write_parquet
from snac_exp.data.codes.encoding import Codes, Work, encode_all, exact_float32
from snac_exp.data.codes.shard_plan import ShardPlan
from snac_exp.data.codes.shards import (
    FILES_VERSION,
    FORMAT_VERSION,
    SHARD_NAME,
    CacheSpec,
    ShardMetadata,
    common_spec,
    differences,
    list_shards,
    num_rows_of,
    read_metadata,
    read_shard,
    shard_name,
    shard_schema,
)
from snac_exp.data.files.resampling import resampled_length
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.rejection import Rejection, write_rejections
from snac_exp.errors import DataError
from snac_exp.system.environment import provenance
from snac_exp.system.files import remove_left
from snac_exp.system.paths.writing import require_writable
from snac_exp.system.progress import Display, progress_display

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from snac_exp.codec.checkpoint import LoadedCodec

CACHE_REJECTED_NAME = "cache_rejected.parquet"
MAX_BATCH_SECONDS = {"cpu": 8.0}  # of audio in a batch, by type of device; others take 120


@dataclass(frozen=True)
class CacheSummary:
    """What one call did in its part of the shards; those that were there already are not counted again."""

    output_dir: Path
    num_shards: int
    num_shards_kept: int
    num_cached: int
    num_rejected: int
    audio_seconds: float
    wall_seconds: float

    @property
    def lines(self) -> list[str]:
        """The summary for people."""
        speed = self.audio_seconds / max(self.wall_seconds, 1e-9)
        return [
            f"{self.num_shards} shards, {self.num_shards_kept} of them there already",
            f"{self.num_cached} utterances encoded, "
            f"{self.audio_seconds / 60:.1f} minutes at {speed:.1f} audio-seconds/s",
            f"{self.num_rejected} rejected ({self.output_dir / CACHE_REJECTED_NAME})",
        ]


def cache_codes(
    manifest: Manifest,
    codec: "LoadedCodec",
    output_dir: Path | str,
    *,
    rows_per_shard: int = 1000,
    shard_index: int = 0,
    shard_count: int = 1,
    device: torch.device | str = "cpu",
    max_batch_seconds: float | None = None,
    num_readers: int = 4,
    retry_rejected: bool = False,
    display: Display = progress_display,
) -> CacheSummary:
    """Write the codes of all rows of a manifest to `output_dir`; process `shard_index` of `shard_count` does its part.

    Shards of `rows_per_shard` rows are numbered over the whole manifest and process i makes every shard_count-th one,
    so processes never write the same file and a restart with another number of them continues the same cache.
    Finished shards are kept; with `retry_rejected` those with rejected rows are made again. `max_batch_seconds` limits
    the audio in one batch (null: 8 on a CPU, where larger batches are slower, else 120); `num_readers` threads read the
    next batches meanwhile. Rows that cannot be read any more are listed in cache_rejected.parquet; DataError if the
    folder holds codes of another codec or manifest.
    """
    started, output_dir = time.monotonic(), Path(output_dir)
    require_writable(output_dir)
    geometry, spec = codec.geometry, cache_spec(manifest, codec)
    plan = ShardPlan.of(manifest.rows, geometry, rows_per_shard)
    mine = plan.part(shard_index, shard_count)
    refuse_foreign(output_dir, spec, len(plan))  # one folder never holds shards of two codecs
    remove_left(output_dir.glob(".*.tmp"))
    todo = [shard for shard in mine if not _finished(output_dir, shard, plan, retry_rejected)]
    max_seconds = max_batch_seconds or MAX_BATCH_SECONDS.get(torch.device(device).type, 120.0)
    work = (batch for shard in todo for batch in plan.batches(shard, geometry, max_seconds))
    num_rows, num_rejected, audio_seconds = sum(map(plan.num_rows, todo)), 0, 0.0
    with exact_float32(), display("cache-codes", num_rows) as advance:
        done = encode_all(work, manifest, codec, torch.device(device), num_readers, advance)
        for shard, rows, found in _whole_shards(done):
            rejected = write_shard(output_dir, shard, len(plan), spec, found, rows, provenance(device), manifest.more)
            num_rejected += len(rejected)
            audio_seconds += sum(row.seconds for row in rows if not isinstance(found[row.path], Rejection))
    write_rejected(output_dir)  # of all shards: other processes may have finished some meanwhile
    return CacheSummary(
        output_dir=output_dir,
        num_shards=len(mine),
        num_shards_kept=len(mine) - len(todo),
        num_cached=num_rows - num_rejected,
        num_rejected=num_rejected,
        audio_seconds=audio_seconds,
        wall_seconds=time.monotonic() - started,
    )


def joined(summaries: Sequence[CacheSummary]) -> CacheSummary:
    """The summary of parts that were made at the same time."""
    return CacheSummary(
        output_dir=summaries[0].output_dir,
        num_shards=sum(item.num_shards for item in summaries),
        num_shards_kept=sum(item.num_shards_kept for item in summaries),
        num_cached=sum(item.num_cached for item in summaries),
        num_rejected=sum(item.num_rejected for item in summaries),
        audio_seconds=sum(item.audio_seconds for item in summaries),
        wall_seconds=max(item.wall_seconds for item in summaries),
    )


def verify_cache(manifest: Manifest, cache_dir: Path | str) -> dict[str, int]:
    """Check that each row of the manifest is cached or rejected, exactly once; returns both counts.

    Raises DataError naming the first row that is not, or saying that the cache is another manifest's or incomplete.
    """
    shards = list_shards(Path(cache_dir))
    if common_spec(shards).manifest_digest != manifest.digest:
        raise DataError(f"{cache_dir}: made from another manifest; cache this one in another folder")
    rejected = pa.array([row.path for shard in shards for row in read_metadata(shard).rejected], pa.large_string())
    found = pa.chunked_array([*(read_shard(shard, _paths) for shard in shards), rejected])
    expected = manifest.rows.column("path")
    if not _sorted(found).equals(_sorted(expected)):
        # Sets hide a path that comes twice.
        wrong = {*found.to_pylist()}.symmetric_difference(expected.to_pylist())
        name = min(wrong, default="a path that comes twice")
        raise DataError(f"{cache_dir}: does not account for {name}; delete the folder and run cache-codes again")
    return {"cached": len(found) - len(rejected), "rejected": len(rejected)}


def _paths(file: "pq.ParquetFile", metadata: ShardMetadata) -> Any:
    return file.read(["path"], use_threads=False)["path"].cast(pa.large_string()).combine_chunks()


def _sorted(paths: Any) -> Any:
    ordered = paths.take(pc.sort_indices(paths))
    return ordered.combine_chunks() if isinstance(ordered, pa.ChunkedArray) else ordered


def cache_spec(manifest: Manifest, codec: "LoadedCodec") -> CacheSpec:
    """What all shards of this manifest's cache have in common; DataError if its tokens need more than 16 bits."""
    codebook_size = int(codec.model.codebook_size)
    if codebook_size > 2**16:
        raise DataError(f"{codec.name}: codebooks of {codebook_size} entries do not fit the cache's 16-bit tokens")
    return CacheSpec(
        codec_fingerprint=codec.fingerprint,
        codec_name=codec.name,
        sampling_rate=codec.geometry.sampling_rate,
        hop_length=codec.geometry.hop_length,
        vq_strides=codec.geometry.vq_strides,
        attn_window_size=codec.geometry.attn_window_size,
        codebook_size=codebook_size,
        audio_root=str(manifest.input_dir),
        manifest_digest=manifest.digest,
    )


def refuse_foreign(output_dir: Path, spec: CacheSpec, count: int) -> None:
    """Whatever shards lie there must belong to this cache, down to their number."""
    for path in sorted(output_dir.glob("codes-*.parquet")):
        name = SHARD_NAME.fullmatch(path.name)
        other = read_metadata(path).spec
        if other != spec:
            raise DataError(
                f"{path}: belongs to another cache: {differences(other, spec)}; choose another output folder"
            )
        # With another number of shards the same number names other rows.
        if name is None or int(name[2]) != count:
            raise DataError(
                f"{path}: this cache has {count} shards; keep rows_per_shard as it was, or choose another folder"
            )


def _finished(output_dir: Path, index: int, plan: ShardPlan, retry_rejected: bool) -> bool:
    path = output_dir / shard_name(index, len(plan))
    if not path.exists():
        return False
    metadata = read_metadata(path)
    # From the footer: no codes are read.
    num_rows = num_rows_of(path) + len(metadata.rejected)
    if num_rows != plan.num_rows(index):
        raise DataError(f"{path}: accounts for {num_rows} of {plan.num_rows(index)} rows; delete it and run again")
    return not (retry_rejected and metadata.rejected)


def _whole_shards(
    done: Iterable[tuple[Work, list[Codes | Rejection]]],
) -> Iterator[tuple[int, list[ManifestRow], dict[str, Codes | Rejection]]]:
    """Every shard once all of it is encoded: its rows, and what came of each by its path."""
    for shard, results in itertools.groupby(done, key=lambda result: result[0].shard):  # in order, as the work is
        finished = list(results)
        rows = [row for batch, _ in finished for row in batch.rows]
        yield (
            shard,
            rows,
            {row.path: one for batch, codes in finished for row, one in zip(batch.rows, codes, strict=True)},
        )


def write_shard(
    output_dir: Path,
    index: int,
    count: int,
    spec: CacheSpec,
    results: dict[str, Codes | Rejection],
    rows: list[ManifestRow],
    made_on: tuple[str, ...],
    more: pa.Schema,
) -> list[Rejection]:
    """Write one shard atomically: codes, or the rejection, of each row by its path. Returns the rejections.

    more: the manifest's further columns, which go with the codes.
    """
    # They travel inside the shard, so that one rename accounts for all of its rows.
    rejected = tuple(result for result in results.values() if isinstance(result, Rejection))
    version = FORMAT_VERSION if more.names else FILES_VERSION
    metadata = ShardMetadata(spec, len(rows), rejected, made_on, version)
    cached = [(row, codes) for row in rows if not isinstance(codes := results[row.path], Rejection)]
    columns = _columns([row for row, _ in cached], [codes for _, codes in cached], spec)
    values = [row.values(more) for row, _ in cached] if more.names else []
    columns |= {name: [value[name] for value in values] for name in more.names}
    schema = shard_schema(len(spec.vq_strides), more).with_metadata(metadata.encode())
    write_parquet(output_dir / shard_name(index, count), pa.table(columns, schema=schema))
    return list(rejected)


def _columns(rows: list[ManifestRow], codes: list[Codes], spec: CacheSpec) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows] for name in ("path", "split", "speaker", "sha1")
    }
    columns["seconds"] = [row.seconds for row in rows]
    columns["num_samples"] = [resampled_length(row.num_samples, row.rate, spec.sampling_rate) for row in rows]
    columns["source_rate"] = [row.rate for row in rows]
    for i in range(len(spec.vq_strides)):
        columns[f"codes_{i}"] = [tokens[i] for tokens in codes]
    return columns


def write_rejected(output_dir: Path) -> None:
    """List the rejections of all shards that are there; the shards themselves are what counts."""
    shards = sorted(path for path in output_dir.glob("codes-*.parquet") if SHARD_NAME.fullmatch(path.name))
    rejected = [row for shard in shards for row in read_metadata(shard).rejected]
    write_rejections(output_dir / CACHE_REJECTED_NAME, rejected)
