"""Band-limited interpolation to twice the rate."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

HALF_LENGTH = 64
"""Input samples to either side of a new sample that the filter sees: 2.7 ms at 24 kHz."""

_KAISER_BETA = 8.0  # stop band 80 dB down; with 128 taps the pass band ends at 0.96 of the input's half rate


def interpolate2x(waveform: Tensor) -> Tensor:
    """Twice as many samples of the same band, zero phase: (B, 1, N) -> (B, 1, 2 N).

    Even output samples are the input itself; odd ones come from a half-band windowed-sinc filter (Kaiser, 128 taps).
    Beyond its ends the signal counts as zero. Computed in fp32 under autocast too.
    """
    with torch.autocast(waveform.device.type, enabled=False):
        signal = waveform.float()
        taps = half_sample_taps().to(signal.device)
        # The first of the N + 1 outputs lies half a sample before the signal and is cut away.
        between = F.conv1d(signal, taps[None, None], padding=HALF_LENGTH)[..., 1:]
    return torch.stack((signal, between), dim=-1).flatten(start_dim=-2)


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # made during validation, it must serve a graph later
def half_sample_taps() -> Tensor:
    """Impulse response (2 * HALF_LENGTH,) of a delay by half a sample, DC gain 1."""
    distance = np.arange(-HALF_LENGTH, HALF_LENGTH) + 0.5
    window = np.i0(_KAISER_BETA * np.sqrt(1 - (distance / HALF_LENGTH) ** 2))
    taps = window * np.sinc(distance)
    return torch.tensor(taps / taps.sum(), dtype=torch.float32)
