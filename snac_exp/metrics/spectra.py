"""Spectra and checks that several metrics share."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FLOOR_DB = 80.0
"""How far below the reference's peak a spectrum counts, in dB; quieter parts are clamped there."""

HIGH_BANDS = 32
"""Equal bands over the upper half of the spectrum: 12 to 24 kHz at 48 kHz."""


def power_spectrogram(waveform: Tensor, n_fft: int, hop: int) -> Tensor:
    """|STFT|^2 with a Hann window: (N,) -> (n_fft // 2 + 1, frames).

    The signal is mirrored at its ends, since a step to zero would click over the whole spectrum; signals shorter than a
    window are filled up with zeros first.
    """
    if waveform.dim() != 1 or waveform.numel() == 0:
        raise ValueError(f"a waveform of shape (N,) with N > 0 is needed, not {tuple(waveform.shape)}")
    # torch.stft cannot mirror a signal that is shorter than half a window.
    filled = F.pad(waveform.float(), (0, max(0, n_fft - waveform.numel())))
    window = torch.hann_window(n_fft, device=waveform.device)
    return torch.stft(filled, n_fft, hop, window=window, return_complex=True).abs().square()


def high_band_power(power: Tensor) -> Tensor:
    """Mean power in 32 equal bands over the upper half of the spectrum, the last bin left out: (1025, T) -> (32, T)."""
    half = (power.shape[0] - 1) // 2
    # 1025 bins: without the last one, at half the rate, the upper half divides into 32 equal bands.
    return power[half : 2 * half].reshape(HIGH_BANDS, half // HIGH_BANDS, -1).mean(dim=1)


def rms_db(reference: Tensor, estimate: Tensor, floor: Tensor) -> Tensor:
    """RMS over the first axis of the level difference in dB, both clamped at `floor` (a power): (K, T) -> (T,)."""
    difference = 10 * (reference.maximum(floor) / estimate.maximum(floor)).log10()
    return difference.square().mean(dim=0).sqrt()


def level_db(reference_power: float, power: float) -> float | None:
    """10 log10 of a mean power over that of its reference, in dB and not below -80; None for a silent reference."""
    if reference_power <= 0:
        return None
    # Silence would be minus infinity, which no mean and no file can hold.
    return 10 * math.log10(max(power / reference_power, 10 ** (-FLOOR_DB / 10)))


def rectangular_stft(waveform: Tensor, n_fft: int) -> Tensor:
    """STFT with torch.stft's own window, all ones, hop n_fft // 4: (N,) -> (n_fft // 2 + 1, frames), complex."""
    # Given explicitly, since torch.stft warns when it has to take this window itself.
    window = torch.ones(n_fft, device=waveform.device)
    return torch.stft(waveform.float(), n_fft, n_fft // 4, window=window, return_complex=True)


def default_n_ffts(rate: int) -> tuple[int, ...]:
    """STFT sizes of the recipes at a sampling rate: 1024 to 4096, from 44.1 kHz on also 8192."""
    return (1024, 2048, 4096) if rate < 44_100 else (1024, 2048, 4096, 8192)


def varies(waveform: Tensor) -> bool:
    """Whether a waveform (N,) is more than one constant value."""
    return bool(waveform.max() > waveform.min())


def check_lengths(reference: Tensor, estimate: Tensor) -> None:
    """ValueError unless both are waveforms (N,) of one length."""
    if reference.shape != estimate.shape or reference.dim() != 1:
        raise ValueError(
            f"reference and estimate are two waveforms of one length (N,), not {tuple(reference.shape)} "
            f"and {tuple(estimate.shape)}: cut the estimate to the reference's length first"
        )
