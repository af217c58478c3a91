"""Perceptual evaluation of speech quality, wide-band; needs the package `pesq`."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000  # Hz, the rate of wide-band PESQ


def pesq_wb(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """PESQ of two waveforms (N,) at 16 kHz, wide-band, 1.04 to 4.64 (ITU-T P.862.2).

    None where it is undefined: digital silence, less than 0.25 s, or no utterance found. Meant for 8 to 30 s of speech;
    its C code has room for 50 utterances, some minutes.
    """
    from pesq import BufferTooShortError, NoUtterancesError, pesq

    from snac_exp.metrics.spectra import check_lengths, varies

    check_lengths(reference, estimate)
    # PESQ begins by aligning levels, and a constant signal has none in the band of speech.
    if not (varies(reference) and varies(estimate)):
        return None
    try:
        score = pesq(rate, reference.cpu().numpy(), estimate.cpu().numpy(), "wb")
    except (BufferTooShortError, NoUtterancesError, ValueError):  # a level beyond the range of its floats: NaN inside
        return None
    return float(score)


def pesq_is_missing() -> str | None:
    """Why there is no PESQ here, with the mend; None where there is."""
    if importlib.util.find_spec("pesq") is None:
        return "the package pesq is not installed: pip install 'snac_exp[metrics]'"
    return None


PESQ = Metric(
    "pesq_wb", "PESQ wide-band", "1 to 4.6", better="higher", decimals=3, order=100, function=pesq_wb,
    perceptual_rate=RATE, missing=pesq_is_missing,
)  # fmt: skip
