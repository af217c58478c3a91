"""Audio files as mono float32: any slice, at any rate, equal to the same slice of the whole resampled file.

The file is opened once and only the part under the resampling filter is decoded. MP3 is the exception: decoding from
its middle lacks the bit reservoir of the frames before, so an MP3 is decoded from its start up to the end of the slice.
"""

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snac_exp.data.files.decoding import (
    AudioInfo,
    Float32Array,
    Levels,
    decode,
    decoded_blocks,
    info_of,
    open_audio,
    refuse_levels,
)
from snac_exp.errors import DataError
from snac_exp.system.torchaudio import transforms

# A rate pair without a small ratio needs a filter bank of reduced_source x reduced_target taps; beyond this it is no
# longer a table but gigabytes of memory.
MAX_KERNEL_ELEMENTS = 2**25


def audio_info(path: Path | str) -> AudioInfo:
    """Read the header of an audio file; DataError if there is none to read."""
    with open_audio(Path(path)) as file:
        return info_of(file)


def resampled_length(num_samples: int, source_rate: int, rate: int) -> int:
    """Samples at `rate` of a file of `num_samples` at `source_rate`: ceil(num_samples * rate / source_rate).

    torchaudio's own count is the same rule rounded in float32, one sample less for some files over two minutes.
    """
    return -(-num_samples * rate // source_rate)


def read_mono(
    path: Path | str,
    rate: int,
    start: int = 0,
    num_samples: int | None = None,
    *,
    check: Callable[[AudioInfo], None] | None = None,
) -> Float32Array:
    """Samples [start, start + num_samples) of the file as it would be at `rate` Hz, mono: (num_samples,).

    `start` and `num_samples` count samples at `rate`; without `num_samples` the slice runs to the end of the file,
    which has `resampled_length` samples. Exactly `num_samples` samples come back: what lies beyond the end is zero.
    Mono is the mean of the channels. `check` sees the header before anything is decoded and may raise.
    Raises DataError for a file that cannot be decoded, ends before its header says, or has NaN or infinity there; read
    as a whole, also for one out of scale or whose channels cancel out.
    """
    if start < 0 or (num_samples is not None and num_samples < 0):
        raise ValueError(f"start and num_samples must not be negative, got {start} and {num_samples}")
    path = Path(path)
    with open_audio(path) as file:
        info = info_of(file)
        if check is not None:
            check(info)
        total = resampled_length(info.num_samples, info.rate, rate)
        stop = total if num_samples is None else start + num_samples
        slice_ = _read_slice(file, path, info, rate, min(start, total), min(stop, total))
    if len(slice_) == stop - start:
        return slice_
    padded = np.zeros(max(stop - start, 0), dtype=np.float32)
    padded[: len(slice_)] = slice_
    return padded


def audio_blocks(path: Path | str, block_samples: int = 2**20) -> Iterator[Float32Array]:
    """The whole file at its own rate as mono blocks (n,); errors as read_mono."""
    path = Path(path)
    with open_audio(path) as file:
        for block in decoded_blocks(file, path, block_samples):
            if not np.isfinite(block).all():
                refuse_levels(path, Levels(finite=False))
            yield _mono(block)


def read_channels(path: Path | str) -> tuple[Float32Array, int]:
    """The whole file as (num, channels) and its rate in Hz; errors as read_mono."""
    path = Path(path)
    with open_audio(path) as file:
        info = info_of(file)
        samples = decode(file, path, 0, info.num_samples)
    refuse_levels(path, Levels.of(samples))
    return samples, info.rate


def resample(samples: Float32Array, source_rate: int, rate: int) -> Float32Array:
    """Resample a whole signal (num,) to (ceil(num * rate / source_rate),), as torchaudio does by default."""
    if source_rate == rate or len(samples) == 0:
        return samples[: resampled_length(len(samples), source_rate, rate)]
    resampler = _resampler(source_rate, rate)
    return np.asarray(resampler(torch.from_numpy(samples)).numpy(), dtype=np.float32)


def _read_slice(file: Any, path: Path, info: AudioInfo, rate: int, start: int, stop: int) -> Float32Array:
    """Samples [start, stop) at `rate`, both within the file: (stop - start,)."""
    if stop <= start:
        return np.zeros(0, dtype=np.float32)
    if info.rate == rate:
        return _decode_mono(file, path, info, start, stop)
    gcd = math.gcd(info.rate, rate)
    source_step, target_step = info.rate // gcd, rate // gcd
    _refuse_huge_kernel(path, info.rate, rate, source_step * target_step)
    # The filter bank repeats after source_step samples: a read that begins at a multiple of it meets the same phases.
    # Output block b is a function of source samples [b * source_step - width, (b + 1) * source_step + width).
    width = int(_resampler(info.rate, rate).width)
    margin_blocks = -(-width // source_step)
    first_block = max(start // target_step - margin_blocks, 0)
    last_block = (stop - 1) // target_step
    source_stop = min((last_block + 1) * source_step + width, info.num_samples)
    source = _decode_mono(file, path, info, first_block * source_step, source_stop)
    offset = first_block * target_step
    resampled = _resampled_blocks(source, info.rate, rate, num=stop - offset)
    return resampled[start - offset :]


def _resampled_blocks(source: Float32Array, source_rate: int, rate: int, num: int) -> Float32Array:
    """The first `num` samples of resampled `source` (n,): (num,)."""
    # torchaudio counts its output in float32, which may come out short for long signals; zeros behind make up for it.
    enough = resampled_length(num, rate, source_rate) + 1 + (num >> 20)
    return resample(np.pad(source, (0, max(enough - len(source), 0))), source_rate, rate)[:num]


def _decode_mono(file: Any, path: Path, info: AudioInfo, start: int, stop: int) -> Float32Array:
    """Mean of the channels of source samples [start, stop): (stop - start,)."""
    samples = decode(file, path, start, stop)
    # Whole files alone: in a short slice channels may cancel out by chance.
    if stop - start == info.num_samples:
        refuse_levels(path, Levels.of(samples))
    return _mono(samples)


def _mono(samples: Float32Array) -> Float32Array:
    """(num, channels) -> (num,), the mean of the channels."""
    return samples[:, 0] if samples.shape[1] == 1 else np.asarray(samples.mean(axis=1, dtype=np.float32))


@functools.cache
def _resampler(source_rate: int, rate: int) -> Any:
    """Filter bank for one pair of rates; kernels are computed in float64 once."""
    return transforms.Resample(source_rate, rate)


def _refuse_huge_kernel(path: Path, source_rate: int, rate: int, num_elements: int) -> None:
    if num_elements > MAX_KERNEL_ELEMENTS:
        raise DataError(
            f"{path}: {source_rate} Hz has no small ratio to {rate} Hz; resample the file, e.g. to {rate} Hz"
        )
