"""New audio from a token model: from nothing, or going on after real audio."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from snac_exp.config.seeding import derive_seed
from snac_exp.data.files.decoding import check_usable
from snac_exp.data.files.reading import read_mono
from snac_exp.data.files.resampling import resampled_length
from snac_exp.data.tokens.codecs import TokenCodec
from snac_exp.data.tokens.encoding import encode_chunked
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.sampling import Sampling, generate
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.release.files.audio import pcm
from snac_exp.release.files.job import refuse_existing
from snac_exp.system.files import atomic_path

CHUNK_SECONDS, CONTEXT_SECONDS = 30.0, 2.0  # a prompt is encoded as snac-exp tokens encode does
OTHER_SUFFIXES = (".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".m4a")


def read_prompt(codec: TokenCodec, path: Path, seconds: float | None = None) -> Tensor:
    """The first `seconds` (null = all) of an audio file of any rate and layout as frames (P, K), in whole granules.

    Raises:
        DataError: it cannot be read, or not even one granule is there.
    """
    if not path.is_file():
        raise DataError(f"there is no prompt {path}")
    info = check_usable(path)
    length = resampled_length(info.num_samples, info.rate, codec.sampling_rate)
    wanted = length if seconds is None else min(length, round(seconds * codec.sampling_rate))
    # A remainder would be padded with zeros by the encoder, and the model would go on from silence.
    num_samples = wanted // codec.granule_samples * codec.granule_samples
    if num_samples == 0:
        raise DataError(
            f"{path}: {wanted / codec.sampling_rate:.3f} s are too short for a prompt; codec {codec.name} needs at "
            f"least {codec.granule_samples / codec.sampling_rate:.3f} s"
        )
    frames = encode_chunked(
        codec,
        lambda start, num: read_mono(path, codec.sampling_rate, start, num),
        num_samples,
        CHUNK_SECONDS,
        CONTEXT_SECONDS,
    )
    return torch.from_numpy(frames)


@dataclass(frozen=True)
class Request:
    """What to write: `num` continuations of `seconds` each, with the prompt in front of them if `keep_prompt`."""

    seconds: float
    num: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    keep_prompt: bool = True

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ConfigError(f"seconds={self.seconds} must be greater than 0")
        if self.num < 1:
            raise ConfigError(f"num={self.num} must be at least 1")


def generate_audio(
    model: TokenTransformer, codec: TokenCodec, request: Request, prompt: Tensor | None = None
) -> list[Tensor]:
    """Waveforms (N,) at the codec's rate; `prompt` (P, K) holds frames of the codec, whole granules of them.

    The codec decodes prompt and continuation at once, so that there is no seam. Number i is the same whatever `num`.
    """
    start = torch.zeros(0, model.layout.num_streams, dtype=torch.int64) if prompt is None else prompt
    num_samples = max(round(request.seconds * codec.sampling_rate), 1)
    num_frames = -(-num_samples // codec.granule_samples) * codec.granule_frames
    frames = generate(model, num_frames, request.sampling, start.expand(request.num, *start.shape))
    # Counted from the frames: that is where the decoded prompt ends.
    prompt_samples = len(start) // codec.granule_frames * codec.granule_samples
    kept = slice(0 if request.keep_prompt else prompt_samples, prompt_samples + num_samples)
    waveforms = []
    for index, row in enumerate(frames.cpu()):
        # SNAC's noise blocks draw from torch's global generator.
        torch.manual_seed(derive_seed(request.sampling.seed, "samples", index))
        waveforms.append(codec.decode(row.numpy()).float()[kept])
    return waveforms


def output_paths(output: Path, num: int) -> list[Path]:
    """Where the waveforms go: FILE.wav for a single one, or FOLDER/0.wav, FOLDER/1.wav, …

    Raises:
        ConfigError: one of them is there already, or a single file is named for several.
    """
    if output.suffix.lower() == ".wav":
        if num > 1:
            raise ConfigError(f"output={output} is one file for num={num}; name a folder")
        paths = [output]
    elif output.suffix.lower() in OTHER_SUFFIXES:
        raise ConfigError(f"output={output}: only wav is written; name it FILE.wav, or a folder")
    else:
        if output.is_file():
            raise ConfigError(f"output={output} is a file; name FILE.wav, or a folder")
        paths = [output / f"{index}.wav" for index in range(num)]
    for path in paths:
        refuse_existing(path)
    return paths


def write_waveforms(paths: Sequence[Path], waveforms: Sequence[Tensor], rate: int) -> None:
    """Write each (N,) as 16 bit at `rate` Hz, atomically; samples beyond full scale are clipped."""
    for path, waveform in zip(paths, waveforms, strict=True):
        with atomic_path(path) as temporary:
            soundfile.write(temporary, pcm(np.asarray(waveform)), rate, subtype="PCM_16", format="WAV")
