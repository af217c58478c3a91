"""The bytes that go into a packed shard: as they lie in the source, or PCM made FLAC, sample for sample the same."""

import hashlib
import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import soundfile

from snac_exp.data.files.recording import Recording
from snac_exp.errors import DataError

_FLAC_SUBTYPES = {"PCM_S8": "int16", "PCM_U8": "int16", "PCM_16": "int16", "PCM_24": "int32"}
_STORED = {"PCM_S8": "PCM_S8", "PCM_U8": "PCM_S8", "PCM_16": "PCM_16", "PCM_24": "PCM_24"}


def read_contents(recording: Recording, listed: Callable[[str], bool], audio: Literal["keep", "flac"]) -> bytes:
    """The bytes of a whole audio file, as they are or as FLAC.

    listed: whether its SHA-1 is the one that it had when it was listed.

    Raises:
        DataError: it cannot be read, or is another one by now.
    """
    try:
        with recording.open() as file:
            found = file.read()
    except OSError as error:
        raise DataError(f"{recording}: cannot be read ({error.strerror}); prepare the folder again") from error
    if not listed(hashlib.sha1(found, usedforsecurity=False).hexdigest()):
        raise DataError(f"{recording}: is not the file that was prepared; prepare the folder again, then pack it anew")
    return found if audio == "keep" else _as_flac(found, recording)


def _as_flac(found: bytes, recording: Recording) -> bytes:
    """PCM of up to 24 bits as FLAC, unless that is larger; everything else as it is."""
    with soundfile.SoundFile(io.BytesIO(found)) as file:
        if file.format == "FLAC" or file.subtype not in _FLAC_SUBTYPES or file.channels > 8 or not file.frames:
            return found
        kind, subtype, rate = _FLAC_SUBTYPES[file.subtype], _STORED[file.subtype], file.samplerate
        samples = file.read(dtype=kind, always_2d=True)
    packed = io.BytesIO()
    soundfile.write(packed, samples, rate, format="FLAC", subtype=subtype)
    _prove(samples, packed, kind, recording)
    return packed.getvalue() if packed.tell() < len(found) else found


def _prove(samples: Any, packed: io.BytesIO, kind: str, recording: Recording) -> None:
    size = packed.tell()
    packed.seek(0)
    again, _ = soundfile.read(packed, dtype=kind, always_2d=True)
    if not np.array_equal(samples, again):
        raise DataError(f"{recording}: FLAC of it has other samples; pack with audio=keep")
    packed.seek(size)
