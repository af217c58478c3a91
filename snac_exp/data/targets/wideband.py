"""Targets of the wide-band head from the sources alone: checked to be wide-band themselves, or resampled."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from snac_exp.data.files.bandwidth import Bandwidth, measure_bandwidth
from snac_exp.data.files.decoding import Float32Array
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.rejection import REJECTED_SCHEMA, Rejection, write_table
from snac_exp.data.rows import manifest_rows
from snac_exp.data.targets.folder import Format, TargetFolder, TargetSummary
from snac_exp.errors import DataError
from snac_exp.system.files import remove_left
from snac_exp.system.paths.writing import require_writable
from snac_exp.system.progress import progress_display

BANDWIDTH_NAME = "bandwidth.parquet"
NOT_WIDE_NAME = "not_wide_band.parquet"

_BANDWIDTH_FIELDS = [
    ("rate", pa.int32()),
    ("cutoff_hz", pa.float64()),
    ("hf_energy_ratio", pa.float64()),
    ("hf_dynamics_db", pa.float64()),
]
BANDWIDTH_SCHEMA = pa.schema([("path", pa.string()), *_BANDWIDTH_FIELDS])
NOT_WIDE_SCHEMA = pa.schema([*REJECTED_SCHEMA, *_BANDWIDTH_FIELDS])


@dataclass(frozen=True)
class WideBand:
    """From where on a native file counts as a target: its rate and cutoff, its share of energy above 12 kHz and how
    much that moves. On real speech at 48 kHz (219 clips) the 5th percentiles are 22 kHz, 4e-4 and 24 dB; sources at
    44.1 kHz end by 21.5 kHz and have at least 2e-5; a file band-limited to 8 kHz has 8 kHz, 6e-9 and 0.6 dB."""

    rate: int = 48000
    min_cutoff_hz: float = 16000.0
    min_hf_energy_ratio: float = 1e-5
    min_hf_dynamics_db: float = 6.0

    def failure(self, found: Bandwidth) -> tuple[str, str] | None:
        """(kind, reason) of the first condition that does not hold, None for a wide-band file."""
        if found.rate < self.rate:
            return "rate", f"{found.rate} Hz, less than {self.rate}"
        if found.cutoff_hz < self.min_cutoff_hz:
            return "cutoff", f"nothing above {found.cutoff_hz:.0f} Hz, less than min_cutoff_hz={self.min_cutoff_hz:.0f}"
        if found.hf_energy_ratio < self.min_hf_energy_ratio:
            return "energy", f"{found.hf_energy_ratio:.1e} of the energy above 12 kHz, min {self.min_hf_energy_ratio:g}"
        if found.hf_dynamics_db < self.min_hf_dynamics_db:
            return "steady", f"energy above 12 kHz moves by {found.hf_dynamics_db:.1f} dB only: hiss or dither"
        return None


def check_native(
    manifest: Manifest, output_dir: Path, wide_band: WideBand, num_workers: int | None = None
) -> dict[str, int]:
    """Measure every file of a manifest; returns the counts `wide_band` and, by kind, of those that are not.

    Writes bandwidth.parquet (all files) and not_wide_band.parquet (those that fail, or cannot be read).
    """

    def measured(row: ManifestRow) -> Bandwidth | Rejection:
        try:
            return measure_bandwidth(manifest.recording(row))
        except DataError as error:
            return Rejection(row.path, "unreadable", str(error))

    require_writable(output_dir)
    remove_left(output_dir.glob(".*.tmp"))  # of a command that was killed
    found: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    with progress_display("targets", len(manifest.rows)) as advance:
        for row, result in zip(manifest.rows, _in_threads(measured, manifest.rows, num_workers), strict=True):
            if isinstance(result, Rejection):
                # It has no bandwidth: those columns stay null.
                failed.append(asdict(result))
            else:
                found.append({"path": row.path, **asdict(result)})
                if (failure := wide_band.failure(result)) is not None:
                    failed.append({"path": row.path, "kind": failure[0], "reason": failure[1], **asdict(result)})
            advance(1, f"{len(failed)} not wide-band")
    write_table(output_dir / BANDWIDTH_NAME, found, BANDWIDTH_SCHEMA)
    write_table(output_dir / NOT_WIDE_NAME, failed, NOT_WIDE_SCHEMA)
    kinds = Counter(row["kind"] for row in failed)
    return {"wide_band": len(manifest.rows) - len(failed), **dict(sorted(kinds.items()))}


def resample_targets(
    manifest: Manifest,
    output_dir: Path,
    *,
    rate: int = 48000,
    file_format: Format = "flac",
    shard: tuple[int, int] = (0, 1),
    num_workers: int | None = None,
    retry_rejected: bool = False,
) -> TargetSummary:
    """Write every file of this process's part at `rate` Hz.

    Nothing comes to be above half the source's own rate: these are for tests and baselines.
    """
    folder = TargetFolder(manifest, output_dir, rate, file_format, {"kind": "resample"}, shard)
    todo = folder.begin(retry_rejected)

    def make(row: ManifestRow) -> Float32Array | Rejection:
        try:
            # With a length, since a target's is rounded where reading to the end rounds up.
            return manifest_rows(manifest).read(row, rate, 0, folder.num_samples(row)).samples
        except DataError as error:
            return Rejection(row.path, "unreadable", str(error))

    def written(row: ManifestRow) -> None:
        folder.keep(row, make(row))

    with progress_display("targets", len(todo)) as advance:
        for _ in _in_threads(written, todo, num_workers):
            advance(1, "")
    return folder.finish()


def _in_threads(
    function: Callable[[ManifestRow], Any], rows: Sequence[ManifestRow], num_workers: int | None
) -> Iterator[Any]:
    """Results in order; decoding, transforms and filters all run without the interpreter's lock."""
    pool = ThreadPoolExecutor(num_workers or os.cpu_count() or 1)
    try:
        yield from pool.map(function, rows)
    finally:
        pool.shutdown(cancel_futures=True)
