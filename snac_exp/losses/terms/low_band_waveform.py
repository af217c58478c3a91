"""Relative distance of waveforms in the band of a voice's pitch."""

import torch
from torch import Tensor

from snac_exp.losses.pair import SignalPair

_WINDOW_SECONDS = 0.043
_FLOOR = 1e-3  # of the power: a signal this quiet counts as silent


def low_band_waveform(pair: SignalPair, corner_hz: float = 250.0, top_hz: float = 600.0) -> Tensor:
    """Mean over signals (B, 1, N) of sum |X(p) - X(y)|^2 / sum |X(y)|^2 over frames and frequencies below `top_hz`.

    X of Hann windows of 43 ms, powers weighted by 1 / (1 + (f / corner_hz)^4); 0 for the same waveform, 1 for silence.
    It hears phase, as no magnitude does: a codec that follows it carries each period of a voice. Above, one of few
    bits cannot follow phases and would rather be silent, unless a term of levels keeps it from that.
    """
    n_fft = 1 << round(_WINDOW_SECONDS * pair.sample_rate).bit_length() - 1
    step = pair.sample_rate / n_fft
    hz = torch.arange(int(top_hz / step), device=pair.prediction.device) * step
    weights = (4 / n_fft) ** 2 / (1 + (hz / corner_hz) ** 4)  # a full-scale sine has the magnitude n_fft / 4
    prediction, target = (spectrum[..., : len(hz)] for spectrum in pair.hann_stft(n_fft))
    centres = torch.arange(target.shape[1], device=hz.device) * (n_fft // 4)
    mask = centres <= pair.valid_samples[:, None]  # (B, frames)
    error, power = (
        ((spectrum.abs().square() @ weights) * mask).sum(1) / mask.sum(1) for spectrum in (prediction - target, target)
    )
    return (error / (power + _FLOOR)).mean()
