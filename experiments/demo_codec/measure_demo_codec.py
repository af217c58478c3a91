"""Measure a codec on the demo's validation voices, beside a noise vocoder, and on recordings where a folder is named.

python experiments/demo_codec/measure_demo_codec.py snac_exp/assets/demo_codec_pitch [FOLDER OF RECORDINGS]
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from snac import SNAC
from torch import Tensor

from snac_exp.config.seeding import derive_seed
from snac_exp.data.demo.speech import SAMPLE_RATE, synthesize_utterance, voices
from snac_exp.data.files.reading import read_mono
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.quality.dnsmos import P808
from snac_exp.metrics.quality.pitch import F0_RMSE, LOG_F0_CORRELATION, VOICING_ERROR
from snac_exp.metrics.waveform.level import LEVEL
from snac_exp.metrics.waveform.mel_distance import MEL_DISTANCE
from snac_exp.metrics.waveform.stoi import STOI
from snac_exp.system.torchaudio import functional as F_audio

RATE, HOP = 24_000, 512
NUM_TRAIN_VOICES = 48
NUM_RECORDINGS = 32  # at most, evenly over the folder
METRICS = (STOI, F0_RMSE, LOG_F0_CORRELATION, VOICING_ERROR, LEVEL, MEL_DISTANCE, P808)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder, *recordings = map(Path, sys.argv[1:])
    print(json.dumps(figures(SNAC.from_pretrained(str(folder)), folder, recordings), indent=2))


@torch.no_grad()
def figures(model: SNAC, folder: Path, recordings: Sequence[Path] = ()) -> dict[str, object]:
    """The figures of the README: 64 held-out utterances, what a folder of `recordings` gives, and the use of codebooks:
    over 5 minutes where they have 1024 entries, and as many coarse tokens per entry where they have more."""
    references = validation_speech(4, 16, 4.0)
    minutes = 5 * model.codebook_size / 1024
    vocoded = {size: [noise_vocoder(reference, window=size) for reference in references] for size in (1024, 2048)}
    return {
        "unheard_voices": means(METRICS, references, decoded(model, references)),
        "references": means([P808], references, references),
        "noise_vocoders": {size: means([STOI], references, made) for size, made in vocoded.items()},
        f"codebook_usage_{minutes:g}_minutes": codebook_usage(model, validation_speech(4, round(minutes * 3), 5.0)),
        "recordings": {str(path): on_recordings(model, path) for path in recordings},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def decoded(model: SNAC, references: Sequence[Tensor]) -> list[Tensor]:
    """What encoder, codebooks and decoder make of utterances, each (N,)."""
    return [model(reference[None, None])[0][0, 0] for reference in references]


def means(metrics: Sequence[Metric], references: Sequence[Tensor], estimates: Sequence[Tensor]) -> dict[str, float]:
    """Every metric, a mean over the utterances (N,) at 24 kHz where it is defined."""
    found = {}
    for metric in metrics:
        assert metric.function is not None
        rate = metric.perceptual_rate or RATE
        pairs = [[F_audio.resample(x, RATE, rate) for x in pair] for pair in zip(references, estimates, strict=True)]
        values = [metric.function(reference, estimate, rate) for reference, estimate in pairs]
        found[metric.name] = statistics.fmean(value for value in values if value is not None)
    return found


def on_recordings(model: SNAC, folder: Path) -> dict[str, float]:
    """The metrics on a folder's recordings, at most 32 of them; P.808 of the recordings as `reference_p808`."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".flac", ".wav"})
    chosen = paths[:: -(-len(paths) // NUM_RECORDINGS)]
    references = [torch.from_numpy(read_mono(path, RATE)) for path in chosen]
    of_references = means([P808], references, references)[P808.name]
    return means(METRICS, references, decoded(model, references)) | {"reference_p808": of_references}


def speech_24khz(seed: int, voice_index: int, utterance: int, seconds: float) -> Tensor:
    """One synthetic utterance at 24 kHz of a voice that is not in training, (N,)."""
    voice = voices(NUM_TRAIN_VOICES, 4, 0)[NUM_TRAIN_VOICES + voice_index]
    audio = synthesize_utterance(voice, derive_seed(seed, "codec_speech", utterance), seconds)
    resampled: Tensor = F_audio.resample(torch.from_numpy(audio), SAMPLE_RATE, RATE)
    return resampled


def validation_speech(num_voices: int, per_voice: int, seconds: float) -> list[Tensor]:
    """Utterances of voices that are not in training, each (N,)."""
    return [speech_24khz(1, v, u, seconds) for v in range(num_voices) for u in range(per_voice)]


def noise_vocoder(audio: Tensor, num_bands: int = 80, window: int = 1024) -> Tensor:
    """White noise with the power of `audio` (N,) in mel bands, one frame per 512 samples as in the codec."""
    hann = torch.hann_window(window)
    bank = F_audio.melscale_fbanks(window // 2 + 1, 0.0, RATE / 2, num_bands, RATE)
    power = torch.stft(audio, window, HOP, window=hann, return_complex=True).abs() ** 2
    bands = (bank.T @ power) / bank.sum(0).clamp(min=1e-9)[:, None]
    smooth = bank @ bands / bank.sum(1).clamp(min=1e-9)[:, None]
    noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0))
    carrier = torch.stft(noise, window, HOP, window=hann, return_complex=True) / hann.square().sum().sqrt()
    return torch.istft(carrier * smooth.sqrt(), window, HOP, window=hann, length=len(audio))


def codebook_usage(model: SNAC, audio: list[Tensor]) -> list[float]:
    """Share of each codebook that occurs in the codes of `audio`."""
    codes = [model.encode(part[None, None]) for part in audio]
    used = [{code for part in level for code in part.flatten().tolist()} for level in zip(*codes, strict=True)]
    return [len(level) / model.codebook_size for level in used]


if __name__ == "__main__":
    main()
