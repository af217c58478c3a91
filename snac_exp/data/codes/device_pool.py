"""A code cache made by one process per device, and the check that it is complete."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from snac_exp.codec.opening import open_codec
from snac_exp.config.schema import Codec
from snac_exp.data.codes.cache import CacheSummary, cache_codes, joined, verify_cache
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.device_pool import device_names, reported, run_on_devices
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.shares import require_share
from snac_exp.system.progress import progress_display


@dataclass(frozen=True)
class CacheJob:
    """What is encoded and how; shard `shard_index` of `shard_count` is divided among `num_devices` devices."""

    prepared: Path
    output: Path
    audio_root: str | None
    codec: Codec
    device: str
    num_devices: int
    shard_index: int
    shard_count: int
    rows_per_shard: int
    max_batch_seconds: float | None
    num_readers: int
    retry_rejected: bool


def encode(job: CacheJob) -> CacheSummary:
    """Do the job, in this process or in one per device.

    Raises:
        ConfigError: there is no such shard. DataError: see `cache_codes` and `device_names`.
    """
    devices = device_names(job.device, job.num_devices)
    require_share(job.shard_index, job.shard_count)
    if len(devices) == 1:
        return encode_on(job, 0, devices[0])
    # For the progress display alone, where about right will do.
    num_rows = len(Manifest.read(job.prepared).rows) // job.shard_count
    return joined(run_on_devices(partial(encode_on, job), devices, num_rows, "cache-codes"))


def encode_on(job: CacheJob, number: int, device: str) -> CacheSummary:
    """What device `number` of the job encodes; with several devices this runs in a process of its own."""
    return cache_codes(
        Manifest.with_audio(job.prepared, job.audio_root),
        open_codec(job.codec),
        job.output,
        rows_per_shard=job.rows_per_shard,
        # Devices are numbered through all jobs, so no two of them make the same shard.
        shard_index=job.shard_index * job.num_devices + number,
        shard_count=job.shard_count * job.num_devices,
        device=device,
        max_batch_seconds=job.max_batch_seconds,
        num_readers=job.num_readers,
        retry_rejected=job.retry_rejected,
        display=progress_display if job.num_devices == 1 else reported,
    )


def verified(prepared: Path, output: Path) -> str:
    """Check that every manifest row is cached or rejected, and make, or check, the mapped copy that training reads."""
    counts = verify_cache(Manifest.read(prepared), output)
    # Opening makes the mapped copy now, so that no training run has to wait for it.
    CodeTable.open(output).check()
    return f"complete: {counts['cached']} rows cached, {counts['rejected']} rejected, every manifest row accounted for"
