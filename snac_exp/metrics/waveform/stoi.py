"""Short-time objective intelligibility."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000  # Hz, as for PESQ, which saves a resampling; the metric itself works at 10 kHz


def stoi(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """STOI of two waveforms (N,), 0 to 1 (Taal et al. 2011; it looks up to 5 kHz).

    None where it is undefined: fewer than 30 frames of speech (0.4 s) after silent frames are removed.
    """
    from pystoi import stoi as intelligibility

    from snac_exp.metrics.spectra import check_lengths, varies

    check_lengths(reference, estimate)
    # A silent estimate has a score, 0; without speech in the reference there is nothing to understand.
    if not varies(reference):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            score = intelligibility(reference.cpu().numpy(), estimate.cpu().numpy(), rate)
        except RuntimeWarning:  # pystoi would go on with the score 1e-5
            return None
    return float(score)


STOI = Metric(
    "stoi", "STOI", "0 to 1", better="higher", decimals=4, order=110, function=stoi, perceptual_rate=RATE, headline=True
)
