"""PLCMOS: a predicted opinion on gaps and their concealment; its model is in the package `speechmos`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from snac_exp.metrics.metric import Metric
from snac_exp.metrics.onnx_session import session
from snac_exp.metrics.packages import file_of, missing_of

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000  # Hz, that of the model
LEAST_SECONDS = 1.0
_RATERS = 15  # drawn listeners, as many as upstream draws
_N_FFT, _HOP = 512, 256


def plcmos(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """PLCMOS of the estimate (N,) at 16 kHz, 1 to 5 (Diener et al. 2023); the reference is not looked at.

    Mean over 15 drawn listeners, the same ones for every clip; upstream draws others at each call. None below 1 s, and
    for digital silence.
    """
    import numpy as np

    from snac_exp.metrics.spectra import varies

    if estimate.numel() < LEAST_SECONDS * rate or not varies(estimate):
        return None
    model = _session()
    features = _features(estimate.clamp(-1, 1).double().cpu().numpy())
    scores = [
        model.run(None, {"degraded_audio": features, "rater_embed": listener[None]})[0].item()
        for listener in np.random.default_rng(0).standard_normal((_RATERS, 64), dtype=np.float32)
    ]
    return float(np.mean(scores))


def _features(audio: Any) -> Any:
    """(N,) -> (1, 1, frames, 257): log power of magnitudes under a periodic Hamming window; plcmos.py of speechmos."""
    import numpy as np

    num_frames = -(-(len(audio) + _HOP) // _HOP)
    padded = np.zeros((num_frames - 1) * _HOP + _N_FFT)
    padded[_HOP : _HOP + len(audio)] = audio
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hamming(_N_FFT + 1)[:-1])) ** 2
    # Bins of nothing lie 120 dB below the weakest one.
    floor = power[power > 0].min() * 1e-12
    return (np.log(np.where(power > 0, power, floor)) / 20).astype(np.float32)[None, None]


@lru_cache
def _session() -> Any:
    """The model, loaded once for a process."""
    return session(file_of("speechmos", "plcmos_models", "plcmos_v2.onnx"))


PLCMOS = Metric(
    "plcmos", "PLCMOS", "1 to 5", better="higher", decimals=3, order=130, perceptual_rate=RATE, function=plcmos,
    missing=missing_of("speechmos", "onnxruntime"), group="plcmos", reference_free=True,
    packages=("speechmos", "onnxruntime"),
)  # fmt: skip
