"""The measures of an evaluation: what they are called, which way is better, and all of them for one pair of signals."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snac_exp.metrics import functions as metrics
from snac_exp.system.torchaudio import functional as F_audio

MEASURES_VERSION = 1
"""Evaluations of different versions are not compared: raise it when a figure changes its meaning."""

RATES = (24_000, 48_000)
"""Where every system is measured, in Hz: the measures of both rates have a stated meaning."""

WIDE_RATE = 48_000
BAND_EDGE_HZ = 12_000.0
"""What 24 kHz can hold; above it lies the high band."""

_SPEECH_RATE = 16_000
PESQ = "pesq_wb"


@dataclass(frozen=True)
class Measure:
    """A column of an evaluation.

    wide: at 48 kHz only. high_band: defined only for recordings that reach above 12 kHz by themselves.
    """

    name: str
    title: str
    decimals: int
    higher_is_better: bool = False
    wide: bool = False
    high_band: bool = False

    def at(self, rate: int) -> bool:
        """Whether it is measured at this rate."""
        return rate == WIDE_RATE or not self.wide

    def text(self, value: float, *, signed: bool = False) -> str:
        """A figure with this measure's decimals."""
        return f"{value:{'+' if signed else ''}z.{self.decimals}f}"


MEASURES = (
    Measure("l1", "L1", 5),
    Measure("stft_magnitude", "STFT magnitude", 4),
    Measure("stft_complex", "STFT complex", 4),
    Measure("mel_distance", "mel distance", 4),
    Measure("si_sdr_db", "SI-SDR, dB", 2, higher_is_better=True),
    Measure("lsd_db", "LSD, dB", 2),
    Measure("lsd_low_db", "LSD < 12 kHz, dB", 2, wide=True),
    Measure("lsd_high_db", "LSD > 12 kHz, dB", 2, wide=True, high_band=True),
    Measure("lsd_high_all_db", "… all frames, dB", 2, wide=True, high_band=True),
    Measure(PESQ, "PESQ wide-band", 3, higher_is_better=True),
    Measure("stoi", "STOI", 4, higher_is_better=True),
)


def missing_measures() -> dict[str, str]:
    """Measures that cannot be had here, with the reason and the mend."""
    reason = metrics.pesq_is_missing()
    return {} if reason is None else {PESQ: reason}


def present_measures() -> tuple[Measure, ...]:
    """Measures that can be had here, in the order of their columns."""
    missing = missing_measures()
    return tuple(measure for measure in MEASURES if measure.name not in missing)


@torch.no_grad()
def measured(
    reference: Tensor, estimate: Tensor, rate: int, *, native_high_band: bool, with_pesq: bool = True
) -> dict[str, float | None]:
    """All measures of an estimate (N,) of a reference (N,), on the CPU; None where one is undefined.

    L1 and both STFT distances are those of training, with the recipes' sizes at this rate, always in the same form
    whatever a recipe trains with. PESQ and STOI are taken at 16 kHz. Measures above 12 kHz are undefined for a
    recording without a native high band.
    """
    scores: dict[str, float | None] = dict(_training_distances(reference, estimate, rate))
    scores["mel_distance"] = metrics.mel_distance(reference, estimate, rate)
    scores["si_sdr_db"] = metrics.si_sdr(reference, estimate)
    scores["lsd_db"] = metrics.log_spectral_distance(reference, estimate, rate)
    if rate == WIDE_RATE:
        high = metrics.lsd_high_db(reference, estimate) if native_high_band else None
        scores["lsd_low_db"] = metrics.log_spectral_distance(reference, estimate, rate, 0.0, BAND_EDGE_HZ)
        scores["lsd_high_db"] = None if high is None else high.active_db
        scores["lsd_high_all_db"] = None if high is None else high.all_db
    speech, heard = (_at_speech_rate(signal, rate) for signal in (reference, estimate))
    if with_pesq:
        scores[PESQ] = metrics.pesq_wb(speech, heard)
    scores["stoi"] = metrics.stoi(speech, heard, _SPEECH_RATE)
    for name, value in scores.items():
        if value is not None and not math.isfinite(value):
            raise ArithmeticError(f"{name} came out as {value}, which is no measure of finite signals")
    return scores


def _at_speech_rate(signal: Tensor, rate: int) -> Tensor:
    resampled: Tensor = F_audio.resample(signal, rate, _SPEECH_RATE, lowpass_filter_width=64)
    return resampled


def _training_distances(reference: Tensor, estimate: Tensor, rate: int) -> dict[str, float | None]:
    """`l1`, `stft_magnitude`, `stft_complex`; the spectra are undefined for less than half a frame."""
    if reference.numel() <= max(metrics.default_n_ffts(rate)) // 2:
        return {"l1": (reference - estimate).abs().mean().item(), "stft_magnitude": None, "stft_complex": None}
    return dict(metrics.reconstruction_distances(reference, estimate, rate))
