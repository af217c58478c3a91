"""Audio files as mono float32: any slice, at any rate, equal to the same slice of the whole resampled file.

The file is opened once and only the part under the resampling filter is decoded. MP3 is the exception: decoding from
its middle lacks the bit reservoir of the frames before, so an MP3 is decoded from its start up to the end of the slice.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from snac_exp.errors import DataError
from snac_exp.system.torchaudio import transforms

Float32Array = npt.NDArray[np.float32]

# A rate pair without a small ratio needs a filter bank of reduced_source x reduced_target taps; beyond this it is no
# longer a table but gigabytes of memory.
MAX_KERNEL_ELEMENTS = 2**25


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of an audio file says: rate in Hz, samples per channel, channels."""

    rate: int
    num_samples: int
    num_channels: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.rate


def audio_info(path: Path | str) -> AudioInfo:
    """Read the header of an audio file; DataError if there is none to read."""
    with _open(Path(path)) as file:
        return _info(file)


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
    """Read samples [start, start + num_samples) of the file as it would be at `rate` Hz, mixed down to one channel.

    `start` and `num_samples` count samples at `rate`; without `num_samples` the slice runs to the end of the file,
    which has `resampled_length` samples. Exactly `num_samples` samples come back: what lies beyond the end is zero.
    Mono is the mean of the channels. `check` sees the header before anything is decoded and may raise.
    Raises DataError for a file that cannot be decoded, ends before its header says, or has NaN or infinity there.
    """
    if start < 0 or (num_samples is not None and num_samples < 0):
        raise ValueError(f"start and num_samples must not be negative, got {start} and {num_samples}")
    path = Path(path)
    with _open(path) as file:
        info = _info(file)
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
    """The whole file at its own rate as mono blocks; errors as read_mono."""
    path = Path(path)
    with _open(path) as file:
        info = _info(file)
        for start in range(0, info.num_samples, block_samples):
            yield _decode(file, path, info, start, min(start + block_samples, info.num_samples))


def read_channels(path: Path | str) -> tuple[Float32Array, int]:
    """The whole file as (num, channels) and its rate in Hz; errors as read_mono."""
    path = Path(path)
    with _open(path) as file:
        info = _info(file)
        return _decode_channels(file, path, info, 0, info.num_samples), info.rate


def resample(samples: Float32Array, source_rate: int, rate: int) -> Float32Array:
    """Resample a whole signal (num,) to (ceil(num * rate / source_rate),), as torchaudio does by default."""
    if source_rate == rate or len(samples) == 0:
        return samples[: resampled_length(len(samples), source_rate, rate)]
    resampler = _resampler(source_rate, rate)
    return np.asarray(resampler(torch.from_numpy(samples)).numpy(), dtype=np.float32)


def _read_slice(file: Any, path: Path, info: AudioInfo, rate: int, start: int, stop: int) -> Float32Array:
    """Samples [start, stop) at `rate`, both within the file."""
    if stop <= start:
        return np.zeros(0, dtype=np.float32)
    if info.rate == rate:
        return _decode(file, path, info, start, stop)
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
    source = _decode(file, path, info, first_block * source_step, source_stop)
    offset = first_block * target_step
    resampled = _resampled_blocks(source, info.rate, rate, num=stop - offset)
    return resampled[start - offset :]


def _resampled_blocks(source: Float32Array, source_rate: int, rate: int, num: int) -> Float32Array:
    """The first `num` samples of resampled `source`; zeros after it outweigh torchaudio's float32 count of them."""
    enough = resampled_length(num, rate, source_rate) + 1 + (num >> 20)
    return resample(np.pad(source, (0, max(enough - len(source), 0))), source_rate, rate)[:num]


def _decode(file: Any, path: Path, info: AudioInfo, start: int, stop: int) -> Float32Array:
    """Mean of the channels of source samples [start, stop)."""
    samples = _decode_channels(file, path, info, start, stop)
    return samples[:, 0] if samples.shape[1] == 1 else np.asarray(samples.mean(axis=1, dtype=np.float32))


def _decode_channels(file: Any, path: Path, info: AudioInfo, start: int, stop: int) -> Float32Array:
    """Source samples [start, stop) of all channels."""
    begin = 0 if file.format in ("MP3", "MPEG") else start
    try:
        file.seek(begin)
        samples = _read_float32(file, stop - begin)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}); replace the file or leave it out") from error
    if len(samples) < stop - begin:
        raise DataError(
            f"{path}: ends after {begin + len(samples)} of the {info.num_samples} samples its header promises;"
            " replace the file or leave it out"
        )
    wanted: Float32Array = samples[start - begin :]
    if not file.subtype.startswith("PCM_") and not np.isfinite(wanted).all():
        raise DataError(f"{path}: holds NaN or infinity; clean the file or leave it out")
    return wanted


def _read_float32(file: Any, num: int) -> Float32Array:
    """The next samples (num, channels); 16-bit ones scaled here, where it is vectorised: 2^-15 loses nothing."""
    if file.subtype != "PCM_16":
        samples: Float32Array = file.read(num, dtype="float32", always_2d=True)
        return samples
    scaled: Float32Array = file.read(num, dtype="int16", always_2d=True) * np.float32(2**-15)
    return scaled


def _open(path: Path) -> Any:
    try:
        return soundfile.SoundFile(os.fsencode(path))
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError) as error:
        if not path.exists():
            raise DataError(f"{path}: no such file; is the audio folder the one the manifest was made from?") from error
        raise DataError(
            f"{path}: not readable as audio ({_without_path(error)}); replace it or leave it out"
        ) from error


def _without_path(error: Exception) -> str:
    """What libsndfile says of a file, without the path as bytes that it begins with."""
    return str(error).rpartition("': ")[2]


def _info(file: Any) -> AudioInfo:
    return AudioInfo(rate=int(file.samplerate), num_samples=int(file.frames), num_channels=int(file.channels))


@functools.cache
def _resampler(source_rate: int, rate: int) -> Any:
    """Filter bank for one pair of rates; kernels are computed in float64 once."""
    return transforms.Resample(source_rate, rate)


def _refuse_huge_kernel(path: Path, source_rate: int, rate: int, num_elements: int) -> None:
    if num_elements > MAX_KERNEL_ELEMENTS:
        raise DataError(
            f"{path}: {source_rate} Hz has no small ratio to {rate} Hz; resample the file, e.g. to {rate} Hz"
        )
