"""Sound and pictures as parts of one file: data URIs of FLAC and WebP."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from snac_exp.errors import DataError


@dataclass(frozen=True)
class Embedded:
    """A file inside a page: its data URI and how many bytes it has without base64's third on top."""

    uri: str
    num_bytes: int


@dataclass(frozen=True)
class Sound:
    """Samples (N,) as float32 in [-1, 1], and their rate in Hz."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate


def read_sound(path: Path) -> Sound:
    """A short audio file, its channels averaged.

    Raises:
        DataError: it is no readable audio, or empty.
    """
    try:
        # Whole files in memory: samples of a run are a few seconds long.
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{path} is not readable as audio: {error}") from error
    if not len(samples):
        raise DataError(f"{path} holds no samples")
    return Sound(samples.mean(axis=1), rate)


def embedded_sound(sound: Sound) -> Embedded:
    """FLAC of 16 bit, so 16-bit wavs sound exactly as they are: a lossy format would add its own artefacts."""
    file = io.BytesIO()
    soundfile.write(file, sound.samples, sound.rate, format="FLAC", subtype="PCM_16")
    return embedded("audio/flac", file.getvalue())


def embedded_picture(pixels: NDArray[np.uint8]) -> Embedded:
    """WebP (lossy) of (height, width, 4) RGBA pixels."""
    file = io.BytesIO()
    # Lossy is enough to look at; a lossless spectrogram is several times as large.
    Image.fromarray(pixels).save(file, format="WEBP", quality=72, method=4)
    return embedded("image/webp", file.getvalue())


def embedded(kind: str, content: bytes) -> Embedded:
    """Bytes of a media type."""
    return Embedded(f"data:{kind};base64,{base64.b64encode(content).decode()}", len(content))
