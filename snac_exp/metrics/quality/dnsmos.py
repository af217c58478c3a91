"""DNSMOS: opinion scores predicted from the estimate alone; its models are in the package `speechmos`."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from snac_exp.metrics.metric import Metric
from snac_exp.metrics.onnx_session import session
from snac_exp.metrics.packages import file_of, missing_of

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000  # Hz, that of the models
LEAST_SECONDS = 1.0
_SAMPLES = int(9.01 * RATE)  # what the models hear at once
_N_FFT, _HOP, _N_MELS = 321, 160, 120  # of the P.808 model's features
_MODELS = {"p835": "sig_bak_ovr.onnx", "p808": "model_v8.onnx"}
# From the outputs of the P.835 model to scores, highest power first; dnsmos.py of speechmos.
_POLYNOMIALS = {
    "signal": (-0.08397278, 1.22083953, 0.0052439),
    "background": (-0.13166888, 1.60915514, -0.39604546),
    "overall": (-0.06766283, 1.11546468, 0.04602535),
}


def dnsmos(reference: Tensor, estimate: Tensor, rate: int, *, part: str) -> float | None:
    """A DNSMOS score of the estimate (N,) at 16 kHz; the reference is not looked at.

    `part`: signal, background or overall of P.835 (Reddy et al. 2022, "DNSMOS P.835"), or p808 (Reddy et al. 2021,
    "DNSMOS"). Windows of 9.01 s, one a second, shorter clips repeated, as github.com/microsoft/DNS-Challenge does it.
    None below 1 s, and for digital silence.
    """
    from snac_exp.metrics.spectra import varies

    if estimate.numel() < LEAST_SECONDS * rate or not varies(estimate):
        return None
    # Samples beyond full scale would be clipped on their way to a listener, too; the models never saw any.
    return _scores(estimate.clamp(-1, 1).float().cpu().numpy().tobytes())[part]


@lru_cache(maxsize=4)
def _scores(samples: bytes) -> dict[str, float]:
    """All parts of float32 samples; kept, since four metrics ask for the same."""
    import numpy as np

    audio = np.frombuffer(samples, dtype=np.float32)
    while len(audio) < _SAMPLES:
        audio = np.concatenate([audio, audio])
    # Whole seconds, less the window: upstream counts so, and its published scores do.
    num_windows = int(len(audio) // RATE - 9.01) + 1
    found = [_of_window(audio[start : start + _SAMPLES]) for start in range(0, num_windows * RATE, RATE)]
    return {part: float(np.mean([scores[part] for scores in found])) for part in found[0]}


def _of_window(audio: Any) -> dict[str, float]:
    import numpy as np

    outputs = _session("p835").run(None, {"input_1": audio[None]})[0][0]
    raw = dict(zip(("signal", "background", "overall"), outputs, strict=True))
    scores = {part: float(np.polyval(factors, raw[part])) for part, factors in _POLYNOMIALS.items()}
    return scores | {"p808": float(_session("p808").run(None, {"input_1": _features(audio)[None]})[0][0][0])}


def _features(audio: Any) -> Any:
    """Samples of a window -> (frames, 120), log mel power, 0 dB = the loudest, clamped 80 dB below."""
    import numpy as np
    import torch

    from snac_exp.metrics.mel_power import mel_power

    power = mel_power(torch.from_numpy(audio[:-_HOP].copy()), RATE, _N_FFT, _HOP, _N_MELS).numpy()
    level = 10 * np.log10(np.maximum(power, 1e-10))
    level -= level.max()
    return ((np.maximum(level, -80) + 40) / 40).astype(np.float32)


@lru_cache
def _session(name: str) -> Any:
    """A model, loaded once for a process."""
    return session(file_of("speechmos", "dnsmos_models", _MODELS[name]))


_MISSING = missing_of("speechmos", "onnxruntime")
_PACKAGES = ("speechmos", "onnxruntime")
OVERALL = Metric(
    "dnsmos_overall", "DNSMOS overall", "1 to 5", better="higher", decimals=3, order=120, perceptual_rate=RATE,
    function=partial(dnsmos, part="overall"), missing=_MISSING, group="dnsmos", reference_free=True, packages=_PACKAGES,
)  # fmt: skip
SIGNAL = Metric(
    "dnsmos_signal", "DNSMOS signal", "1 to 5", better="higher", decimals=3, order=121, perceptual_rate=RATE,
    function=partial(dnsmos, part="signal"), missing=_MISSING, group="dnsmos", reference_free=True, packages=_PACKAGES,
)  # fmt: skip
BACKGROUND = Metric(
    "dnsmos_background", "DNSMOS background", "1 to 5", better="higher", decimals=3, order=122, perceptual_rate=RATE,
    function=partial(dnsmos, part="background"), missing=_MISSING, group="dnsmos", reference_free=True,
    packages=_PACKAGES,
)  # fmt: skip
P808 = Metric(
    "dnsmos_p808", "DNSMOS P.808", "1 to 5", better="higher", decimals=3, order=123, perceptual_rate=RATE,
    function=partial(dnsmos, part="p808"), missing=_MISSING, group="dnsmos", reference_free=True, packages=_PACKAGES,
)  # fmt: skip
