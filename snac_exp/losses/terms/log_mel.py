"""Multi-scale distance of logarithmic mel spectra."""

from functools import lru_cache

import torch
from torch import Tensor

from snac_exp.losses.pair import SignalPair
from snac_exp.system.torchaudio import functional as F_audio

SCALES = ((512, 40), (1024, 80), (2048, 160))  # samples per frame, mel bands
_FLOOR = 1e-5  # -100 dB of a full-scale sine


def log_mel(pair: SignalPair, floor: float = _FLOOR) -> Tensor:
    """Mean over scales of: mean |log10(M(p) + floor) - log10(M(y) + floor)|, M the mel magnitudes (B, frames, bands).

    Always with a Hann window, 512 to 2048 samples with 40 to 160 Slaney mel bands up to half the rate, magnitudes
    scaled such that a full-scale sine is 1; a gain of 2 is 0.301. The floor is added, not clamped at, so that a
    prediction below it still has a gradient. Weighs quiet bands as much as loud ones, which no linear distance does,
    down to the floor. Gradients grow as a band falls: with a low floor near silence leads the first steps of a codec.
    """
    distances = []
    for n_fft, num_mels in SCALES:
        prediction, target = ((mel + floor).log10() for mel in mel_magnitudes(pair, n_fft, num_mels))
        distances.append(pair.frame_mean((prediction - target).abs(), n_fft))
    return torch.stack(distances).mean()


def mel_magnitudes(pair: SignalPair, n_fft: int, num_mels: int) -> tuple[Tensor, Tensor]:
    """Mel magnitudes (B, frames, num_mels) of prediction and target, of a full-scale sine 1."""
    bank = mel_bank(pair.sample_rate, n_fft, num_mels, pair.prediction.device)
    prediction, target = (spectrum.abs() @ bank for spectrum in pair.hann_stft(n_fft))
    return prediction, target


@lru_cache
@torch.inference_mode(False)  # made during validation, it must serve a graph later
def mel_bank(rate: int, n_fft: int, num_mels: int, device: torch.device) -> Tensor:
    """(n_fft / 2 + 1, num_mels); a sine of amplitude 1 has the magnitude n_fft / 4 under a Hann window."""
    # norm=None: triangles of peak 1, so that a band's width does not change its level.
    bank: Tensor = F_audio.melscale_fbanks(n_fft // 2 + 1, 0.0, rate / 2, num_mels, rate, norm=None, mel_scale="slaney")
    return (bank * (4 / n_fft)).to(device)
