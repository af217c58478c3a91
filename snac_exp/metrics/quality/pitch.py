"""Fundamental frequency: its error, its correlation, and how often a frame is voiced in one signal alone; by Praat."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from snac_exp.metrics.metric import Metric
from snac_exp.metrics.packages import missing_of

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000  # Hz; voices lie far below
STEP_SECONDS, LOWEST_HZ, HIGHEST_HZ = 0.01, 60.0, 500.0
LEAST_FRAMES = 10  # voiced in both, 0.1 s


def f0_rmse_cents(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """Root mean square of 1200 log2(f0 / f0 of the reference) over frames voiced in both signals (N,), in cents.

    100 cents are a semitone. None with fewer than 10 frames voiced in both.
    """
    import numpy as np

    both = _voiced_in_both(reference, estimate, rate)
    return None if both is None else float(1200 * np.sqrt(np.mean((both[1] - both[0]) ** 2)))


def log_f0_correlation(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """Pearson's correlation of log F0 over frames voiced in both signals (N,), -1 to 1.

    None with fewer than 10 of them, or where one pitch does not move.
    """
    import numpy as np

    both = _voiced_in_both(reference, estimate, rate)
    # Below a hundredth of a cent a pitch is constant but for rounding.
    if both is None or both.std(axis=1).min() < 1e-5:
        return None
    return float(np.corrcoef(both)[0, 1])


def voicing_error(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """Share of frames of two signals (N,) that are voiced in one of them alone.

    None where the signals are too short for a frame (0.05 s), or no frame of the reference is voiced.
    """
    import numpy as np

    ours, theirs = _both_contours(reference, estimate, rate)
    if not (ours > 0).any():
        return None
    return float(np.mean((ours > 0) != (theirs > 0)))


def _voiced_in_both(reference: Tensor, estimate: Tensor, rate: int) -> Any:
    """log2 F0 of both, (2, frames), over frames voiced in both; None where they are too few."""
    import numpy as np

    both = np.stack(_both_contours(reference, estimate, rate))
    both = both[:, (both > 0).all(axis=0)]
    return np.log2(both) if both.shape[1] >= LEAST_FRAMES else None


def _both_contours(reference: Tensor, estimate: Tensor, rate: int) -> tuple[Any, Any]:
    """F0 contours (frames,) of two waveforms (N,), see `_contour`."""
    from snac_exp.metrics.spectra import check_lengths

    check_lengths(reference, estimate)
    ours, theirs = (_contour(it.double().cpu().numpy().tobytes(), rate) for it in (reference, estimate))
    return ours, theirs


@lru_cache(maxsize=8)
def _contour(samples: bytes, rate: int) -> Any:
    """F0 in Hz every 10 ms, 0 where a frame is not voiced: (frames,); kept, since three metrics ask for the same.

    The autocorrelation method of Praat (Boersma 1993) with its defaults.
    """
    import numpy as np
    import parselmouth

    audio = np.frombuffer(samples, dtype=np.float64)
    # Praat analyses three periods of the lowest pitch at once.
    if len(audio) < 3 / LOWEST_HZ * rate + 1:
        return np.zeros(0)
    sound = parselmouth.Sound(audio, sampling_frequency=rate)
    found = sound.to_pitch(time_step=STEP_SECONDS, pitch_floor=LOWEST_HZ, pitch_ceiling=HIGHEST_HZ)
    return found.selected_array["frequency"]


_MISSING = missing_of("parselmouth")
_PACKAGES = ("praat-parselmouth",)
F0_RMSE = Metric(
    "f0_rmse_cents", "F0 error", "cents", decimals=1, order=150, function=f0_rmse_cents, perceptual_rate=RATE,
    missing=_MISSING, group="f0", packages=_PACKAGES,
)  # fmt: skip
LOG_F0_CORRELATION = Metric(
    "log_f0_correlation", "correlation of log F0", "-1 to 1", better="higher", decimals=4, order=151,
    function=log_f0_correlation, perceptual_rate=RATE, missing=_MISSING, group="f0", packages=_PACKAGES,
)  # fmt: skip
VOICING_ERROR = Metric(
    "voicing_error", "voicing error", "fraction", decimals=4, order=152, function=voicing_error, perceptual_rate=RATE,
    missing=_MISSING, group="f0", packages=_PACKAGES,
)  # fmt: skip
