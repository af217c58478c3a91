"""Distance of complex spectra."""

import torch
from torch import Tensor

from snac_exp.losses.pair import SignalPair


def stft_complex(pair: SignalPair) -> Tensor:
    """Mean over n of: mean |Re X_n(p) - Re X_n(y)| + mean |Im X_n(p) - Im X_n(y)|; spectra (B, frames, bins) -> scalar.

    Punishes a wrong phase as much as a wrong magnitude, and so prefers silence to noise of the right magnitude.
    """
    distances = []
    for n_fft in pair.n_ffts:
        prediction, target = pair.stft(n_fft)
        difference = torch.view_as_real(prediction - target).abs()
        distances.append(2 * pair.frame_mean(difference, n_fft))  # the mean is over real and imaginary parts together
    return torch.stack(distances).mean()
