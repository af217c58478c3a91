"""Audio files in bounded memory: read part by part into the encoder, written part by part from the decoder."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor

from snac_exp.data.files.decoding import AudioInfo, check_usable, open_audio
from snac_exp.data.files.reading import audio_info, blocks_of, read_mono
from snac_exp.data.files.recording import Recording, recording_of
from snac_exp.data.files.resampling import resampled_length
from snac_exp.errors import DataError
from snac_exp.release.codec import DEFAULT_CHUNK_SECONDS, ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.waveforms import check_rate
from snac_exp.system.files import atomic_path

Advance = Callable[[float], None]
"""Told how many seconds of audio are done since the last time."""

_BLOCK_SAMPLES = 2**20  # 2 MB of 16 bits at a time
_LARGEST_WAV_SAMPLES = 2**31 - 2**12  # of 16 bits: a WAV header counts bytes in 32 bits


@dataclass(frozen=True)
class AudioSource:
    """An audio file whose every part can be read at once; made by `open_source` and `open_pcm`."""

    path: Path | Recording
    info: AudioInfo

    def read_at(self, rate: int) -> Callable[[int, int], Tensor]:
        """Reader of (start, num) samples at `rate` Hz as (1, 1, num); zero beyond the end."""
        return lambda start, num: torch.from_numpy(read_mono(self.path, rate, start, num))[None, None]


@contextmanager
def open_source(path: Path | Recording) -> Iterator[AudioSource]:
    """An audio file, or a recording that `prepare` has judged before. An MP3, which can only be decoded from its start,
    is unpacked into a temporary file first.

    Raises:
        DataError: it is missing, no audio, empty, cut off or out of scale.
    """
    info = check_usable(path) if isinstance(path, Path) else audio_info(path)
    with ExitStack() as stack:
        with open_audio(path) as file:
            if file.format in ("MP3", "MPEG"):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="snac_exp_")))
                path, info = _unpacked(file, path, folder / "unpacked.wav")
        yield AudioSource(path, info)


@contextmanager
def open_pcm(stream: IO[bytes], rate: int) -> Iterator[AudioSource]:
    """Raw PCM (signed 16 bit, little-endian, mono) at `rate` Hz, up to its end, kept in a temporary file.

    Raises:
        DataError: there is none, or it ends within a sample.
    """
    check_rate(rate, rate)
    with tempfile.TemporaryDirectory(prefix="snac_exp_") as folder:
        path = Path(folder) / "input.wav"
        # RF64: a pipe does not say how much will come, and WAV ends at 4 GB.
        with soundfile.SoundFile(path, "w", rate, 1, "PCM_16", format="RF64") as file:
            while data := _read_exactly(stream, 2 * _BLOCK_SAMPLES):
                if len(data) % 2:
                    raise DataError("the PCM on standard input ends within a sample; it must be 16 bit, mono")
                file.write(np.frombuffer(data, dtype="<i2"))
        info = audio_info(path)
        if info.num_samples < 1:
            raise DataError("there is no PCM on standard input")
        yield AudioSource(path, info)


def encode_source(
    codec: ReleasedCodec,
    source: AudioSource,
    *,
    chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS,
    advance: Advance = lambda seconds: None,
) -> Codes:
    """Codes of a whole file; memory depends on the chunk alone."""
    rate, info = codec.sampling_rate, source.info
    check_rate(info.rate, rate)
    num_samples = resampled_length(info.num_samples, info.rate, rate)
    parts = []
    for tokens in codec.encode_chunks(source.read_at(rate), num_samples, chunk_seconds=chunk_seconds):
        parts.append(tokens)
        advance(tokens[0].shape[-1] * codec.geometry.coarse_hop / rate)
    rows = tuple(torch.cat(row, dim=-1) for row in zip(*parts, strict=True))
    return Codes(rows, info.num_samples, info.rate, codec.codebooks)


def decode_to_files(
    codec: ReleasedCodec,
    codes: Codes,
    outputs: Mapping[str, Path],
    *,
    seed: int | None,
    noise: bool = True,
    chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS,
    advance: Advance = lambda seconds: None,
) -> int:
    """Write a WAV file (16 bit) for each head of `outputs`, all from one pass; they appear once they are whole.

    Samples beyond full scale are clipped, never wrapped; returns how many.
    """
    num_clipped = 0
    with ExitStack() as stack:
        files = {
            head: stack.enter_context(_wav_writer(path, codec.heads[head], codes)) for head, path in outputs.items()
        }
        chunks = codec.decode_chunks(codes, list(outputs), seed=seed, noise=noise, chunk_seconds=chunk_seconds)
        for chunk in chunks:
            for head, waveform in chunk.items():
                samples = waveform[0, 0].cpu().numpy()
                # Counted before rounding, so that a sample at exactly full scale is none.
                num_clipped += int(np.count_nonzero(np.abs(samples) > 1.0))
                files[head].write(pcm(samples))
            advance(samples.shape[-1] / codec.heads[head])
    return num_clipped


def pcm(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Samples rounded to signed 16 bit, little-endian, clipped at full scale."""
    # 32767 on both sides: 32768 would wrap +1.0 to the most negative value.
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2")


def first_seconds(path: Path | Recording, seconds: float) -> tuple[Tensor, int]:
    """The beginning of an audio file as mono (N,) at its own rate, and that rate."""
    info = audio_info(path)
    num_samples = min(info.num_samples, int(seconds * info.rate))
    return torch.from_numpy(read_mono(path, info.rate, 0, num_samples)), info.rate


def stems(paths: Sequence[str]) -> dict[str, str]:
    """Relative path -> the same without its ending, or with it as `_wav` where two would be called alike.

    Names that differ in case alone count as alike: some file systems cannot hold both.

    Raises:
        DataError: two are alike all the same.
    """
    short = {path: str(Path(path).with_suffix("")) for path in paths}
    # Compared without case, since macOS and Windows would overwrite one with the other.
    alike = Counter(stem.casefold() for stem in short.values())
    long = {path: f"{stem}_{Path(path).suffix[1:]}" for path, stem in short.items()}
    chosen = {path: stem if alike[stem.casefold()] == 1 else long[path] for path, stem in short.items()}
    owners: dict[str, str] = {}
    for path in paths:
        name = chosen[path].casefold()
        if name in owners:
            raise DataError(f"{owners[name]!r} and {path!r} would have outputs of one name; rename one of them")
        owners[name] = path
    return chosen


@contextmanager
def _wav_writer(path: Path, rate: int, codes: Codes) -> Iterator[Any]:
    large = codes.samples_at(rate) > _LARGEST_WAV_SAMPLES
    with (
        atomic_path(path) as temporary,
        soundfile.SoundFile(temporary, "w", rate, 1, "PCM_16", format="RF64" if large else "WAV") as file,
    ):
        yield file


def _unpacked(file: Any, path: Path | Recording, target: Path) -> tuple[Path, AudioInfo]:
    """The file as mono float samples in a WAV file; its channels averaged as everywhere."""
    num_samples = 0
    # Float and RF64: an MP3 may decode beyond full scale, and its length is not known before the end.
    with soundfile.SoundFile(target, "w", file.samplerate, 1, "FLOAT", format="RF64") as output:
        for block in blocks_of(file, recording_of(path)):
            output.write(block.mean(axis=1, dtype=np.float32))
            num_samples += len(block)
    return target, AudioInfo(int(file.samplerate), num_samples, 1)


def _read_exactly(stream: IO[bytes], num_bytes: int) -> bytes:
    """That many bytes, fewer only at the end: a pipe gives what it has at the moment."""
    parts = []
    # One read may return less than asked for although more is to come.
    while num_bytes and (part := stream.read(num_bytes)):
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)
