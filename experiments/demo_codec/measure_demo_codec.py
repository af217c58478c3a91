"""Metric a codec on the demo's validation voices: STOI beside a noise vocoder, and the use of its codebooks.

python experiments/demo_codec/measure_demo_codec.py snac_exp/assets/demo_codec
"""

import json
import sys
from pathlib import Path

import torch
from snac import SNAC
from torch import Tensor

from snac_exp.config.seeding import derive_seed
from snac_exp.data.demo.speech import SAMPLE_RATE, synthesize_utterance, voices
from snac_exp.metrics.waveform.stoi import stoi
from snac_exp.system.torchaudio import functional as F_audio

RATE, HOP = 24_000, 512
NUM_TRAIN_VOICES = 48


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(json.dumps(figures(SNAC.from_pretrained(sys.argv[1]), Path(sys.argv[1])), indent=2))


@torch.no_grad()
def figures(model: SNAC, folder: Path) -> dict[str, object]:
    """The figures of the README: 24 held-out utterances for STOI, 5 minutes for the codebooks."""
    references = validation_speech(4, 6, 4.0)
    vocoded = {size: [noise_vocoder(reference, window=size) for reference in references] for size in (1024, 2048)}
    return {
        "stoi": mean_stoi([model(reference[None, None])[0][0, 0] for reference in references], references),
        "stoi_noise_vocoder_1024": mean_stoi(vocoded[1024], references),
        "stoi_noise_vocoder_2048": mean_stoi(vocoded[2048], references),
        "codebook_usage_5_minutes": codebook_usage(model, validation_speech(4, 15, 5.0)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def speech_24khz(seed: int, voice_index: int, utterance: int, seconds: float) -> Tensor:
    """One synthetic utterance at 24 kHz of a voice that is not in training, (N,)."""
    voice = voices(NUM_TRAIN_VOICES, 4, 0)[NUM_TRAIN_VOICES + voice_index]
    audio = synthesize_utterance(voice, derive_seed(seed, "codec_speech", utterance), seconds)
    resampled: Tensor = F_audio.resample(torch.from_numpy(audio), SAMPLE_RATE, RATE)
    return resampled


def validation_speech(num_voices: int, per_voice: int, seconds: float) -> list[Tensor]:
    """Utterances of voices that are not in training, each (N,)."""
    return [speech_24khz(1, v, u, seconds) for v in range(num_voices) for u in range(per_voice)]


def mean_stoi(estimates: list[Tensor], references: list[Tensor]) -> float:
    """STOI at its native 10 kHz, averaged over utterances."""
    pairs = [[F_audio.resample(x, RATE, 10_000) for x in pair] for pair in zip(references, estimates, strict=True)]
    return sum(stoi(reference, estimate, 10_000) or 0.0 for reference, estimate in pairs) / len(pairs)


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
