"""Recordings as mono float32: any slice, at any rate, equal to the same slice of the whole resampled recording.

A segment is read as if it were a file of its own: slices count from its first sample, what lies before and behind it
is silence. A path is the recording that is this file.

The file is opened once and only the part under the resampling filter is decoded. MP3 is the exception: decoding from
its middle lacks the bit reservoir of the frames before, so an MP3 is decoded from its start up to the end of the slice.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snac_exp.data.files.decoding import (
    BLOCK_SAMPLES,
    AudioInfo,
    Float32Array,
    decode,
    decoded_blocks,
    info_of,
    open_audio,
    refuse_levels,
)
from snac_exp.data.files.levels import NO_LIMITS, Levels, Limits
from snac_exp.data.files.recording import Recording, recording_of
from snac_exp.data.files.resampling import FilterBank, filter_bank, resampled_length, resampled_part
from snac_exp.errors import DataError

# A rate pair without a small ratio needs a filter bank of reduced_source x reduced_target taps; beyond this it is no
# longer a table but gigabytes of memory.
MAX_KERNEL_ELEMENTS = 2**25


def audio_info(path: Path | str | Recording) -> AudioInfo:
    """Read the header of an audio file; DataError if there is none to read."""
    recording = recording_of(path)
    with open_audio(recording) as file:
        return info_of(file, recording)


@dataclass(frozen=True, slots=True)
class Slice:
    """Samples [start, start + num) of a file as it would be at `rate` Hz; num None: up to its end."""

    rate: int
    start: int = 0
    num: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.num is not None and self.num < 0):
            raise ValueError(f"start and num_samples must not be negative, got {self.start} and {self.num}")


def read_mono(
    path: Path | str | Recording,
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
    return read_slices(path, [Slice(rate, start, num_samples)], check=check)[0]


def read_slices(
    path: Path | str | Recording,
    slices: Sequence[Slice],
    *,
    check: Callable[[AudioInfo], None] | None = None,
    limits: Limits | None = None,
) -> list[Float32Array]:
    """Several slices (num,) of one file, at different rates perhaps, opened and decoded once; else as `read_mono`.

    limits: of the levels of a recording that is read as a whole; null = those by default.
    """
    recording = recording_of(path)
    with open_audio(recording) as file:
        info = info_of(file, recording)
        if check is not None:
            check(info)
        wanted = [_Wanted.of(slice_, recording, info) for slice_ in slices]
        begin = min((one.begin for one in wanted if one.num), default=0)
        end = max((one.end for one in wanted if one.num), default=0)
        source = (
            _decode_mono(file, recording, info, begin, end, limits) if end > begin else np.zeros(0, dtype=np.float32)
        )
    return [one.cut(source, begin) for one in wanted]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Samples [start, stop) at `rate`, both within the file, of which source samples [begin, end) tell; then zeros."""

    bank: FilterBank | None
    start: int
    stop: int
    begin: int
    end: int
    num_zeros: int

    @property
    def num(self) -> int:
        """Samples that the file has of it."""
        return self.stop - self.start

    @classmethod
    def of(cls, slice_: Slice, path: Recording, info: AudioInfo) -> "_Wanted":
        total = resampled_length(info.num_samples, info.rate, slice_.rate)
        end = max(total, slice_.start) if slice_.num is None else slice_.start + slice_.num
        start, stop = min(slice_.start, total), min(end, total)
        num_zeros = end - slice_.start - (stop - start)
        if stop == start or info.rate == slice_.rate:
            return cls(None, start, stop, start, stop, num_zeros)
        _refuse_huge_kernel(path, info.rate, slice_.rate)
        bank = filter_bank(info.rate, slice_.rate)
        first, last = bank.reach(start, stop)
        return cls(bank, start, stop, max(first, 0), min(last, info.num_samples), num_zeros)

    def cut(self, source: Float32Array, begin: int) -> Float32Array:
        """The slice, out of decoded samples (n,) that start at sample `begin` of the file."""
        if self.bank is None:
            inside = source[self.start - begin : self.stop - begin] if self.num else source[:0]
        else:
            inside = resampled_part(source, begin, self.bank, self.start, self.stop)
        return np.pad(inside, (0, self.num_zeros)) if self.num_zeros else inside


def audio_blocks(path: Path | str | Recording, block_samples: int = BLOCK_SAMPLES) -> Iterator[Float32Array]:
    """The whole recording at its own rate as mono blocks (n,); errors as read_mono."""
    recording = recording_of(path)
    with open_audio(recording) as file:
        for block in blocks_of(file, recording, block_samples):
            if not np.isfinite(block).all():
                refuse_levels(recording, Levels(finite=False))
            yield _mono(block)


def blocks_of(file: Any, recording: Recording, block_samples: int = BLOCK_SAMPLES) -> Iterator[Float32Array]:
    """An open recording in blocks (at most block_samples, channels), NaN and infinity of a whole file included."""
    if recording.segment is None:
        yield from decoded_blocks(file, recording, block_samples)
        return
    num_samples = info_of(file, recording).num_samples
    for first in range(0, num_samples, block_samples):
        yield _decode(file, recording, first, min(first + block_samples, num_samples))


def read_channels(path: Path | str | Recording, limits: Limits | None = None) -> tuple[Float32Array, int]:
    """The whole recording as (num, channels) and its rate in Hz; errors as read_mono, limits as `read_slices`."""
    recording = recording_of(path)
    with open_audio(recording) as file:
        info = info_of(file, recording)
        samples = _decode(file, recording, 0, info.num_samples)
    refuse_levels(recording, Levels.of(samples), limits)
    return samples, info.rate


def _decode(file: Any, recording: Recording, start: int, stop: int) -> Float32Array:
    """Samples [start, stop) of a recording, all channels: (stop - start, channels)."""
    first = 0 if recording.segment is None else recording.segment.start
    return decode(file, recording, first + start, first + stop)


def _decode_mono(
    file: Any, recording: Recording, info: AudioInfo, start: int, stop: int, limits: Limits | None
) -> Float32Array:
    """Mean of the channels of samples [start, stop) of a recording: (stop - start,)."""
    samples = _decode(file, recording, start, stop)
    # Whole recordings alone: in a short slice channels may cancel out by chance.
    if stop - start == info.num_samples and limits != NO_LIMITS:
        refuse_levels(recording, Levels.of(samples), limits)
    return _mono(samples)


def _mono(samples: Float32Array) -> Float32Array:
    """(num, channels) -> (num,), the mean of the channels."""
    return samples[:, 0] if samples.shape[1] == 1 else np.asarray(samples.mean(axis=1, dtype=np.float32))


def _refuse_huge_kernel(path: Recording, source_rate: int, rate: int) -> None:
    if source_rate * rate // math.gcd(source_rate, rate) ** 2 > MAX_KERNEL_ELEMENTS:
        raise DataError(
            f"{path}: {source_rate} Hz has no small ratio to {rate} Hz; resample the file, e.g. to {rate} Hz"
        )
