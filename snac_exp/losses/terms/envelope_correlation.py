"""Correlation of the envelopes of third-octave bands."""

from functools import lru_cache

import torch
from torch import Tensor

from snac_exp.losses.pair import SignalPair

_LOWEST_HZ, _NUM_BANDS = 150.0, 15  # third octaves up to 4.3 kHz
_WINDOW_SECONDS = 0.043
_SPAN = 36  # frames over which envelopes are compared: 384 ms
_POWER_FLOOR, _NORM_FLOOR = 1e-10, 1e-3


def envelope_correlation(pair: SignalPair) -> Tensor:
    """Mean over bands and spans of 384 ms of 1 - correlation of envelopes; signals (B, 1, N) -> scalar, 0 to 2.

    A smooth cousin of STOI (Taal et al. 2011): of third-octave bands from 150 Hz to 4.3 kHz, blind to their levels.
    Silence correlates with nothing. A signal of less than one span counts as 1.
    """
    n_fft = 1 << round(_WINDOW_SECONDS * pair.sample_rate).bit_length() - 1
    bands = _third_octaves(pair.sample_rate, n_fft, pair.prediction.device)
    centred = []
    for spectrum in pair.hann_stft(n_fft):
        power = (spectrum * (4 / n_fft)).abs().square() @ bands
        if power.shape[1] < _SPAN:
            return power.sum() * 0 + 1
        envelope = (power + _POWER_FLOOR).sqrt().unfold(1, _SPAN, 1)
        envelope = envelope - envelope.mean(-1, keepdim=True)
        centred.append(envelope / (envelope.norm(dim=-1, keepdim=True) + _NORM_FLOOR))
    correlation = (centred[0] * centred[1]).sum(-1)  # (B, frames - _SPAN + 1, bands)
    ends = (torch.arange(correlation.shape[1], device=correlation.device) + _SPAN - 1) * (n_fft // 4)
    mask = ends <= pair.valid_samples[:, None]
    mean: Tensor = (correlation.mean(-1) * mask).sum() / mask.sum().clamp_min(1)
    return 1 - mean


@lru_cache
@torch.inference_mode(False)  # made during validation, it must serve a graph later
def _third_octaves(rate: int, n_fft: int, device: torch.device) -> Tensor:
    """(n_fft / 2 + 1, bands), 1 where a bin lies within a band."""
    edges = _LOWEST_HZ * 2 ** ((torch.arange(_NUM_BANDS + 1) - 0.5) / 3)
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1)
    return ((bins[:, None] >= edges[:-1]) & (bins[:, None] < edges[1:])).float().to(device)
