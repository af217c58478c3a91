"""The one place that decodes audio files: everything is counted by what the decoder returned, never by the header.

This module imports no torch: the worker processes of `prepare` start in a fraction of a second.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from snac_exp.data.files.completeness import check_complete
from snac_exp.data.files.levels import Float32Array as Float32Array
from snac_exp.data.files.levels import Levels, Limits
from snac_exp.data.files.mp3 import check_length
from snac_exp.data.files.recording import Recording, recording_of
from snac_exp.data.files.within import open_within
from snac_exp.errors import DataError
from snac_exp.system.paths.kind import LOOKED_AT_BYTES, kind_of_bytes, kind_of_file

BLOCK_SAMPLES = 2**20  # per channel, 4 MB as float32
MOST_SAMPLES = 2**40  # per channel: 265 days at 48 kHz; more means "unknown"

_FAILURES = (soundfile.SoundFileError, OSError, RuntimeError, TypeError)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of an audio file says: rate in Hz, samples per channel, channels; of a segment, its samples."""

    rate: int
    num_samples: int
    num_channels: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.rate


@contextmanager
def open_audio(path: Path | Recording) -> Iterator[Any]:
    """An audio file, opened once its container has been found whole; of a segment, the file that it is of.

    Raises:
        DataError: it is missing, no audio, cut off, or nobody can say how long it is.
    """
    recording = recording_of(path)
    with _opened(recording) as file:
        check_complete(recording)
        # Only here the number of samples may be libsndfile's guess, see mp3.py.
        if file.format in ("MP3", "MPEG"):
            check_length(recording, int(file.frames))
        if not 0 <= file.frames < MOST_SAMPLES:
            raise DataError(f"{path}: its header does not say how long it is; write it anew, e.g. with ffmpeg -i")
        yield file


def info_of(file: Any, recording: Recording) -> AudioInfo:
    """The header of an open file, or of its segment.

    Raises:
        DataError: the file has not the length that it had when its segments were listed.
    """
    segment, num_samples = recording.segment, int(file.frames)
    if segment is not None:
        if num_samples != segment.file_samples:
            raise DataError(
                f"{recording}: has {num_samples:,} samples, and had {segment.file_samples:,} when its segments were "
                "listed; prepare again"
            )
        num_samples = segment.stop - segment.start
    return AudioInfo(rate=int(file.samplerate), num_samples=num_samples, num_channels=int(file.channels))


def decode(file: Any, path: Path | Recording, start: int, stop: int) -> Float32Array:
    """Samples [start, stop) of the whole file, all channels: (stop - start, channels).

    Raises:
        DataError: they cannot be decoded, end before `stop`, or hold NaN or infinity.
    """
    # Frames of an MP3 need bits of those before them.
    begin = 0 if file.format in ("MP3", "MPEG") else start
    try:
        file.seek(begin)
        samples = _read_float32(file, stop - begin)
    except _FAILURES as error:
        raise DataError(f"{path}: cannot be decoded ({error}); replace the file or leave it out") from error
    _check_count(path, begin + len(samples), stop, file)
    wanted: Float32Array = samples[start - begin :]
    # Integers hold no NaN, so the usual formats are spared the look.
    if not file.subtype.startswith("PCM_") and not np.isfinite(wanted).all():
        refuse_levels(path, Levels(finite=False))
    return wanted


def decoded_blocks(file: Any, path: Path | Recording, block_samples: int = BLOCK_SAMPLES) -> Iterator[Float32Array]:
    """The whole file from its start in blocks (at most block_samples, channels), NaN and infinity included.

    Raises:
        DataError: it cannot be decoded, or ends before its header says.
    """
    num_samples = 0
    try:
        file.seek(0)
        while len(block := _read_float32(file, block_samples)):
            num_samples += len(block)
            yield block
    except _FAILURES as error:
        raise DataError(f"{path}: cannot be decoded ({error}); replace the file or leave it out") from error
    # A stream that breaks off ends the loop like one that is whole.
    _check_count(path, num_samples, int(file.frames), file)


def measure_audio(path: Path | Recording) -> tuple[AudioInfo, Levels]:
    """Decode a file from start to end, in blocks: its rate, length and channels, and how loud it is.

    Raises:
        DataError: as `open_audio` and `decoded_blocks`.
    """
    with open_audio(path) as file:
        levels, num_samples = Levels(), 0
        for block in decoded_blocks(file, path):
            levels = levels.joined(Levels.of(block, num_samples))
            num_samples += len(block)
        return AudioInfo(int(file.samplerate), num_samples, int(file.channels)), levels


def check_usable(path: Path) -> AudioInfo:
    """Decode a file from start to end; what `prepare` would reject whatever its settings is refused here too.

    Raises:
        DataError: it is unreadable, cut off, empty, out of scale, not finite, or its channels cancel out.
    """
    info, levels = measure_audio(path)
    if info.num_samples == 0:
        raise DataError(f"{path}: has no samples; leave it out")
    refuse_levels(path, levels)
    return info


def refuse_levels(path: Path | Recording, levels: Levels, limits: Limits | None = None) -> None:
    """DataError for levels beyond the limits, null = those by default."""
    if (problem := levels.problem(limits or Limits())) is not None:
        raise DataError(f"{path}: {problem[1]}")


def _check_count(path: Path | Recording, num_samples: int, promised: int, file: Any) -> None:
    if num_samples < promised:
        raise DataError(
            f"{path}: ends after {num_samples} of the {int(file.frames)} samples its header promises;"
            " replace the file or leave it out"
        )


def _read_float32(file: Any, num: int) -> Float32Array:
    """The next samples (num, channels), fewer at the end; 16-bit ones scaled here, in one pass: 2^-15 loses nothing."""
    if file.subtype != "PCM_16":
        samples: Float32Array = file.read(num, dtype="float32", always_2d=True)
        return samples
    scaled: Float32Array = file.read(num, dtype="int16", always_2d=True) * np.float32(2**-15)
    return scaled


def _cannot_open(recording: Recording, error: Exception) -> DataError:
    if not recording.path.exists():
        return DataError(f"{recording.path}: no such file; is the audio folder the one the manifest was made from?")
    return DataError(
        f"{recording}: not readable as audio ({_without_path(error)}): it is {_kind(recording)}; "
        "replace it or leave it out"
    )


def _opened(recording: Recording) -> Any:
    try:
        if recording.within is not None:
            return open_within(recording, recording.within)
        # As bytes: names of files need not be valid text.
        return soundfile.SoundFile(os.fsencode(recording.path))
    except _FAILURES as error:
        raise _cannot_open(recording, error) from error


def _kind(recording: Recording) -> str:
    if recording.within is None or not os.access(recording.path, os.R_OK):
        return kind_of_file(recording.path)
    with recording.open() as file:
        return kind_of_bytes(file.read(LOOKED_AT_BYTES))


def _without_path(error: Exception) -> str:
    """What libsndfile says of a file, without its name that it begins with."""
    return str(error).rpartition(": ")[2]
