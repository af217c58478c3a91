"""Audio files in, codes out: batches of equal length, read by threads while the one before is encoded.

Each file is zero-padded to its own multiple only, as upstream's `encode` does, and shares a batch with files of the
same padded length: padding to a longer neighbour changes tokens at the end. Everything is float32 without TF32.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from snac_exp.codec.geometry import Geometry, Lengths
from snac_exp.data.files.decoding import Float32Array
from snac_exp.data.files.resampling import resampled_length
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.rejection import Rejection
from snac_exp.data.rows import manifest_rows
from snac_exp.errors import DataError
from snac_exp.system.progress import Advance

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

BATCHES_READ_AHEAD = 2  # bounds the decoded audio in memory

Codes = list[npt.NDArray[np.uint16]]


@dataclass(frozen=True, slots=True)
class Work:
    """Rows of one shard that are encoded together: equal padded length."""

    shard: int
    rows: list[ManifestRow]
    num_coarse: int


def encode_all(
    work: Iterable[Work],
    manifest: Manifest,
    codec: "LoadedCodec",
    device: torch.device,
    num_readers: int,
    advance: Advance,
) -> Iterator[tuple[Work, list[Codes | Rejection]]]:
    """Codes, or the rejection, of every row of every batch, in order."""
    model = codec.model.to(device).eval()
    started, seconds = time.monotonic(), 0.0
    for batch, audio in _read_ahead(work, manifest, codec.geometry, num_readers):
        readable = [samples for samples in audio if not isinstance(samples, Rejection)]
        codes = iter(_encode(model, readable, batch.num_coarse * codec.geometry.coarse_hop))
        yield batch, [samples if isinstance(samples, Rejection) else next(codes) for samples in audio]
        seconds += sum(row.seconds for row in batch.rows)
        advance(len(batch.rows), f"{seconds / (time.monotonic() - started):.1f} audio-seconds/s")


def _read_ahead(
    work: Iterable[Work], manifest: Manifest, geometry: Geometry, num_readers: int
) -> Iterator[tuple[Work, list[Float32Array | Rejection]]]:
    """Each batch with its audio, signals (num,), the next ones being read meanwhile."""
    with ThreadPoolExecutor(num_readers) as pool:
        pending: list[tuple[Work, list[Future[Float32Array | Rejection]]]] = []
        try:
            for batch in work:
                pending.append((batch, [pool.submit(_read, manifest, row, geometry) for row in batch.rows]))
                if len(pending) > BATCHES_READ_AHEAD:
                    first, futures = pending.pop(0)
                    yield first, [future.result() for future in futures]
            for batch, futures in pending:
                yield batch, [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


def _read(manifest: Manifest, row: ManifestRow, geometry: Geometry) -> Float32Array | Rejection:
    """The whole file (num,) at the codec's rate, or why it cannot be had any more."""
    try:
        audio = manifest_rows(manifest).read(row, geometry.sampling_rate)
    except DataError as error:
        return Rejection(row.path, "unreadable", str(error))
    info = audio.info
    # Length and rate are what a look at the header can tell of another recording under the same name.
    if (info.rate, info.num_samples) != (row.rate, row.num_samples):
        now, then = f"{info.num_samples} samples at {info.rate} Hz", f"{row.num_samples} at {row.rate} Hz"
        return Rejection(row.path, "changed", f"the file has {now}, the manifest says {then}; prepare the folder again")
    return audio.samples


def _encode(model: Any, audio: list[Float32Array], padded_samples: int) -> list[Codes]:
    """Codes[i] (T_i,) uint16 of each signal (num,), all zero-padded to the length they share."""
    if not audio:
        return []
    padded = np.zeros((len(audio), 1, padded_samples), dtype=np.float32)
    for i, samples in enumerate(audio):
        padded[i, 0, : len(samples)] = samples
    device = next(model.parameters()).device
    # Lower precision picks other entries where two are about equally near.
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        codes = model.encode(torch.from_numpy(padded).to(device))
    # They fit: `cache_spec` refuses codebooks of more than 2^16 entries.
    arrays = [tokens.cpu().numpy().astype(np.uint16) for tokens in codes]
    return [[tokens[i] for tokens in arrays] for i in range(len(audio))]


@contextmanager
def exact_float32() -> Iterator[None]:
    """Plain float32 for convolutions and products, deterministic kernels; the settings from before come back."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        # benchmark would choose kernels by their speed at the moment, and kernels round differently.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def num_coarse_of(num_samples: Lengths, rate: Lengths, geometry: Geometry) -> Lengths:
    """Coarse tokens of rows of so many samples at these rates, as they are at the codec's rate."""
    return geometry.coarse_tokens_of(resampled_length(num_samples, rate, geometry.sampling_rate))
