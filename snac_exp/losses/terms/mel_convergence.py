"""Multi-scale relative distance of mel spectra."""

import torch
from torch import Tensor

from snac_exp.losses.pair import SignalPair
from snac_exp.losses.terms.log_mel import SCALES, mel_magnitudes

_FLOOR = 1e-2  # norm of a band over time below which it counts as silent


def mel_convergence(pair: SignalPair) -> Tensor:
    """Mean over scales and bands of ||M(p) - M(y)|| / ||M(y)||, norms over time, M the mel magnitudes of `log_mel`.

    Follows the loud parts of every band, where `log_mel` counts quiet ones as much; every band counts the same in both.
    """
    distances = []
    for n_fft, num_mels in SCALES:
        prediction, target = mel_magnitudes(pair, n_fft, num_mels)
        centres = torch.arange(target.shape[1], device=target.device) * (n_fft // 4)
        mask = (centres <= pair.valid_samples[:, None])[..., None]
        prediction, target = prediction * mask, target * mask
        distances.append(((prediction - target).norm(dim=1) / target.norm(dim=1).clamp_min(_FLOOR)).mean())
    return torch.stack(distances).mean()
