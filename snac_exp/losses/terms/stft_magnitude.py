"""Distance of magnitude spectra."""

import torch
from torch import Tensor

from snac_exp.losses.pair import SignalPair


def stft_magnitude(pair: SignalPair) -> Tensor:
    """Mean over n of: mean ||X_n(p)| - |X_n(y)||; spectra (B, frames, bins) -> scalar. Blind to phase."""
    distances = []
    for n_fft in pair.n_ffts:
        prediction, target = pair.stft(n_fft)
        distances.append(pair.frame_mean((prediction.abs() - target.abs()).abs(), n_fft))
    return torch.stack(distances).mean()
