"""What the demo codec is trained on: mel spectra at several resolutions, and the envelopes of speech."""

import torch
from measure_demo_codec import RATE
from torch import Tensor, nn

from snac_exp.system.torchaudio import functional as F_audio

LOSS_WINDOWS = {2048: 80, 1024: 64, 512: 40, 256: 24}  # STFT window: mel bands


class SpectralLoss(nn.Module):
    """Mean over windows of two distances in mel bands, and a little L1 of the waveform.

    mean |log M - log M'| + 0.5 mean_bands ||M - M'||_time / ||M'||_time, M the mel amplitudes: the first hears quiet
    sounds, the second follows the loud envelopes, and every band counts the same in both.
    """

    def __init__(self) -> None:
        super().__init__()
        self.banks = {
            size: F_audio.melscale_fbanks(size // 2 + 1, 0.0, RATE / 2, bands, RATE)
            for size, bands in LOSS_WINDOWS.items()
        }

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        total = 2.0 * (prediction - target).abs().mean()
        for size, bank in self.banks.items():
            ours, theirs = (magnitude(audio, size).transpose(1, 2) @ bank for audio in (prediction, target))
            total = total + (ours.clamp(min=1e-4).log() - theirs.clamp(min=1e-4).log()).abs().mean()
            total = total + 0.5 * ((ours - theirs).norm(dim=1) / theirs.norm(dim=1).clamp(min=1e-2)).mean()
        return total / len(self.banks)


def magnitude(audio: Tensor, size: int) -> Tensor:
    """STFT magnitude of (B, 1, N), Hann, 75 % overlap, where a full-scale sine reads 1; (B, bins, frames)."""
    window = torch.hann_window(size)
    spectrum = torch.stft(audio[:, 0], size, size // 4, window=window, return_complex=True)
    return spectrum.abs() * (2 / window.sum())


def envelope_correlation(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean correlation of third-octave envelopes, 150 Hz to 4.3 kHz, over 384 ms; a smooth cousin of STOI."""
    edges = 150 * 2 ** ((torch.arange(16) - 0.5) / 3)
    bins = torch.linspace(0, RATE / 2, 513)
    bands = ((bins[:, None] >= edges[:-1]) & (bins[:, None] < edges[1:])).float()
    pair = []
    for audio in (prediction, target):
        window = torch.hann_window(614)
        spectrum = torch.stft(audio[:, 0], 1024, 307, 614, window=window, return_complex=True) * (2 / window.sum())
        envelope = (spectrum.abs().square().transpose(1, 2) @ bands + 1e-10).sqrt().unfold(1, 30, 1)
        centred = envelope - envelope.mean(-1, keepdim=True)
        pair.append(centred / (centred.norm(dim=-1, keepdim=True) + 1e-3))  # silence correlates with nothing
    correlation: Tensor = (pair[0] * pair[1]).sum(-1)
    return correlation.mean()
