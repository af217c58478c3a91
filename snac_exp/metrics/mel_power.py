"""Mel power spectrograms as librosa makes them, which models trained on its features expect."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LINEAR_HZ_PER_MEL, _BREAK_HZ, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27  # Slaney's Auditory Toolbox


def mel_power(waveform: Tensor, rate: int, n_fft: int, hop: int, n_mels: int) -> Tensor:
    """(N,) -> (frames, n_mels), power, frames centred, zeros beyond the ends.

    Equals `librosa.feature.melspectrogram(y, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels)` of librosa 0.10.
    """
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(waveform.float(), n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    bank = torch.from_numpy(_bank(rate, n_fft, n_mels))
    return (bank @ spectrum.abs().square()).T


@lru_cache
def _bank(rate: int, n_fft: int, n_mels: int) -> NDArray[np.float32]:
    """Triangles of Slaney's scale, each of area 1: (n_mels, n_fft // 2 + 1)."""
    # torchaudio takes the last bin for half the rate, which it is not where n_fft is odd.
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    edges = _hz(np.linspace(0, _mel(rate / 2), n_mels + 2))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    return np.asarray(triangles, dtype=np.float32)


def _mel(hz: float) -> float:
    """Above 1 kHz, where the scale is logarithmic."""
    return float(_BREAK_HZ / _LINEAR_HZ_PER_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    start = _BREAK_HZ / _LINEAR_HZ_PER_MEL
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - start))
    return np.asarray(np.where(mel < start, mel * _LINEAR_HZ_PER_MEL, above))
