"""Speaker similarity by the encoder whose weights are in the package `resemblyzer`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from snac_exp.metrics.metric import Metric
from snac_exp.metrics.packages import file_of, missing_of

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000  # Hz, that of the encoder
_N_FFT, _HOP, _N_MELS = 400, 160, 40
_FRAMES, _STEP = 160, 77  # windows of 1.6 s, 1.3 a second
_COVERAGE = 0.75  # share of the last window that must be speech, not padding
_LEVEL = 10 ** (-30 / 20)  # quieter clips are raised to this RMS


def speaker_similarity(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """Cosine of the speaker embeddings of two waveforms (N,) at 16 kHz; 1 = the same.

    The encoder of GE2E (Wan et al. 2018) as github.com/resemble-ai/Resemblyzer trained it: log-free mel power, three
    LSTM layers, windows of 1.6 s averaged. Pauses stay in, since both signals have the same ones. None below 1.2 s,
    three quarters of a window, and for digital silence.
    """
    from snac_exp.metrics.spectra import check_lengths, varies

    check_lengths(reference, estimate)
    if reference.numel() < _COVERAGE * _FRAMES * _HOP or not (varies(reference) and varies(estimate)):
        return None
    return float(_embedding(reference) @ _embedding(estimate))


def _embedding(waveform: Tensor) -> Tensor:
    """(N,) -> (256,), of length 1."""
    import torch
    from torch.nn import functional as F

    from snac_exp.metrics.mel_power import mel_power

    level = waveform.float().square().mean().sqrt()
    raised = waveform.float() * (_LEVEL / level).clamp_min(1)
    starts = _starts(waveform.numel())
    padded = F.pad(raised, (0, max(0, (starts[-1] + _FRAMES) * _HOP - raised.numel())))
    mel = mel_power(padded, RATE, _N_FFT, _HOP, _N_MELS)
    lstm, linear = _encoder()
    _, (hidden, _) = lstm(torch.stack([mel[start : start + _FRAMES] for start in starts]))
    windows = F.normalize(linear(hidden[-1]).relu(), dim=1)
    return F.normalize(windows.mean(dim=0), dim=0)


def _starts(num_samples: int) -> list[int]:
    """First frames of the windows, the last one left out where too much of it would be padding."""
    num_frames = -(-(num_samples + 1) // _HOP)
    starts = list(range(0, max(1, num_frames - _FRAMES + _STEP + 1), _STEP))
    covered = (num_samples - starts[-1] * _HOP) / (_FRAMES * _HOP)
    return starts[:-1] if covered < _COVERAGE and len(starts) > 1 else starts


@lru_cache
def _encoder() -> Any:
    """LSTM and linear layer with their weights, loaded once for a process.

    Its own package cannot be imported everywhere: it needs webrtcvad, and that a removed part of setuptools.
    """
    import torch

    weights = torch.load(file_of("resemblyzer", "pretrained.pt"), map_location="cpu", weights_only=True)["model_state"]
    lstm, linear = torch.nn.LSTM(_N_MELS, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    for name, module in (("lstm", lstm), ("linear", linear)):
        start = f"{name}."
        module.load_state_dict({key[len(start) :]: it for key, it in weights.items() if key.startswith(start)})
        module.eval().requires_grad_(False)
    return lstm, linear


SPEAKER_SIMILARITY = Metric(
    "speaker_similarity", "speaker similarity", "0 to 1", better="higher", decimals=4, order=140, perceptual_rate=RATE,
    function=speaker_similarity, missing=missing_of("resemblyzer"), group="speaker", packages=("resemblyzer",),
)  # fmt: skip
