"""How far an estimate is from its reference: pure functions of two waveforms.

Every function takes `(reference, estimate)`, two 1-D float tensors of equal length with samples in [-1, 1], and gives
one number. Distances are 0 for identical signals. A measure that is undefined for a reference (silence, too short) is
None, never NaN, so that the caller has to count it instead of averaging it in.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from snac_exp.losses.pair import SignalPair
from snac_exp.losses.terms.l1 import l1
from snac_exp.losses.terms.stft_complex import stft_complex
from snac_exp.losses.terms.stft_magnitude import stft_magnitude
from snac_exp.system.torchaudio import functional as F_audio

FLOOR_DB = 80.0
"""How far below the reference's peak a spectrum counts, in dB; quieter parts are clamped there."""

HIGH_BANDS = 32
"""Equal bands from 12 to 24 kHz in `lsd_high_db`."""

_HIGH_N_FFT, _HIGH_HOP = 2048, 512
_LSD_WINDOW_SECONDS = 2048 / 48_000
_MEL_SCALES = ((128, 10), (256, 20), (512, 40), (1024, 80), (2048, 160))


@dataclass(frozen=True)
class HighBand:
    """Log-spectral distance above 12 kHz of one utterance, in dB.

    `active_db`: over the frames in which the reference has energy there; None if it has none in any frame.
    `all_db`: over all frames, so hiss between the words counts too; None for a reference of digital silence.
    `active_share`: the part of the frames that is active.
    """

    active_db: float | None
    all_db: float | None
    active_share: float


def lsd_high_db(reference: Tensor, estimate: Tensor) -> HighBand:
    """Log-spectral distance above 12 kHz that hiss cannot game, for 48 kHz signals (N,).

    Hann window 2048, hop 512; power averaged in 32 equal bands b from 12 to 24 kHz; both signals clamped at `floor`,
    80 dB below the reference's peak; per frame t the RMS over bands, then the mean over frames:

        d(t) = sqrt(mean_b (10 log10 max(R(t,b), floor) / max(E(t,b), floor))^2)    [dB]

    The peak is the largest power of any bin of the reference's whole spectrogram, low frequencies included. Like that
    the floor is a property of the speech, not of its high band: a voice with a weak high band is not asked for detail
    that nobody hears, and what the estimate does cannot move it. Frames are active where a reference band exceeds the
    floor. In general it is the upper half of the spectrum that is measured: for a 32 kHz signal 8 to 16 kHz.
    """
    power = power_spectrogram(reference, _HIGH_N_FFT, _HIGH_HOP)
    peak = power.max()
    if peak <= 0:
        return HighBand(None, None, 0.0)
    _check_lengths(reference, estimate)
    floor = peak * 10 ** (-FLOOR_DB / 10)
    bands = high_band_power(power)
    estimate_bands = high_band_power(power_spectrogram(estimate, _HIGH_N_FFT, _HIGH_HOP))
    distance = _rms_db(bands, estimate_bands, floor)
    active = (bands > floor).any(dim=0)
    active_db = distance[active].mean().item() if active.any() else None
    return HighBand(active_db, distance.mean().item(), active.float().mean().item())


def power_spectrogram(waveform: Tensor, n_fft: int, hop: int) -> Tensor:
    """|STFT|^2 with a Hann window: (N,) -> (n_fft // 2 + 1, frames).

    The signal is mirrored at its ends, since a step to zero would click over the whole spectrum; signals shorter than a
    window are filled up with zeros first.
    """
    if waveform.dim() != 1 or waveform.numel() == 0:
        raise ValueError(f"a waveform of shape (N,) with N > 0 is needed, not {tuple(waveform.shape)}")
    filled = F.pad(waveform.float(), (0, max(0, n_fft - waveform.numel())))
    window = torch.hann_window(n_fft, device=waveform.device)
    return torch.stft(filled, n_fft, hop, window=window, return_complex=True).abs().square()


def high_band_power(power: Tensor) -> Tensor:
    """Mean power in 32 equal bands over the upper half of the spectrum, the last bin left out: (1025, T) -> (32, T)."""
    half = (power.shape[0] - 1) // 2
    return power[half : 2 * half].reshape(HIGH_BANDS, half // HIGH_BANDS, -1).mean(dim=1)


def log_spectral_distance(
    reference: Tensor, estimate: Tensor, rate: int, low_hz: float = 0.0, high_hz: float | None = None
) -> float | None:
    """Log-spectral distance per bin between `low_hz` and `high_hz` (default: all), in dB; None for digital silence.

    As `lsd_high_db`, but over single bins and always over all frames; the window is the power of two nearest to 43 ms
    (2048 at 48 kHz, 1024 at 24 kHz), the hop a quarter of it. A gain of 2 is 6.02 dB wherever both are above the floor.
    """
    _check_lengths(reference, estimate)
    n_fft = 1 << round(torch.tensor(_LSD_WINDOW_SECONDS * rate).log2().item())
    frequencies = torch.linspace(0, rate / 2, n_fft // 2 + 1, device=reference.device)
    inside = (frequencies >= low_hz) & (frequencies <= (rate / 2 if high_hz is None else high_hz))
    if not inside.any():
        raise ValueError(f"no bin lies between {low_hz} and {high_hz} Hz at {rate} Hz")
    power = power_spectrogram(reference, n_fft, n_fft // 4)
    peak = power.max()
    if peak <= 0:
        return None
    estimate_power = power_spectrogram(estimate, n_fft, n_fft // 4)
    return _rms_db(power[inside], estimate_power[inside], peak * 10 ** (-FLOOR_DB / 10)).mean().item()


def mel_distance(reference: Tensor, estimate: Tensor, rate: int) -> float:
    """Multi-scale mel distance: mean over scales of the L1 distance of log10 mel magnitudes, in log10 units.

        mean_s mean_(t,m) |log10 max(M_s(reference), 1e-5) - log10 max(M_s(estimate), 1e-5)|

    Windows of 128 to 2048 samples (Hann, hop a quarter) with 10 to 160 Slaney mel bands up to half the rate; window and
    magnitudes are normalised so that a full-scale sine is about 1. A gain of 2 is 0.301. After the multi-scale mel loss
    of DAC (Kumar et al. 2023, "High-Fidelity Audio Compression with Improved RVQGAN"), which sums over scales of 32 to
    2048 samples instead. Compare figures of one sampling rate only, since the windows are in samples. It is not the
    training term `log_mel`, so that tuning that term leaves the yardstick alone.
    """
    _check_lengths(reference, estimate)
    distances = [
        (_log_mel(reference, rate, n_fft, n_mels) - _log_mel(estimate, rate, n_fft, n_mels)).abs().mean()
        for n_fft, n_mels in _MEL_SCALES
    ]
    return torch.stack(distances).mean().item()


def default_n_ffts(rate: int) -> tuple[int, ...]:
    """STFT sizes of the recipes at a sampling rate: 1024 to 4096, from 44.1 kHz on also 8192."""
    return (1024, 2048, 4096) if rate < 44_100 else (1024, 2048, 4096, 8192)


def reconstruction_distances(
    reference: Tensor, estimate: Tensor, rate: int, n_ffts: Sequence[int] | None = None
) -> dict[str, float]:
    """`l1`, `stft_magnitude` and `stft_complex` exactly as training measures them, without a window.

    Always in the same form, whatever a recipe trains with, so that recipes can be compared. The equations stand at
    `snac_exp.losses.terms`.
    """
    _check_lengths(reference, estimate)
    pair = SignalPair(
        prediction=estimate.reshape(1, 1, -1),
        target=reference.reshape(1, 1, -1),
        valid_samples=torch.tensor([reference.numel()], device=reference.device),
        sample_rate=rate,
        n_ffts=tuple(n_ffts or default_n_ffts(rate)),
    )
    terms = (l1, stft_magnitude, stft_complex)
    return {term.__name__: term(pair).item() for term in terms}


def si_sdr(reference: Tensor, estimate: Tensor) -> float | None:
    """Scale-invariant signal-to-distortion ratio in dB, means removed (Le Roux et al. 2019); None for silence."""
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio  # 1.5 s to import

    _check_lengths(reference, estimate)
    if not (_varies(reference) and _varies(estimate)):
        return None
    ratio: Tensor = scale_invariant_signal_distortion_ratio(estimate.float(), reference.float(), zero_mean=True)
    return ratio.item()


def stoi(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """Short-time objective intelligibility, 0 to 1, higher is better (Taal et al. 2011; up to 5 kHz).

    None where it is undefined: fewer than 30 frames of speech (0.4 s) after silent frames are removed.
    """
    from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility  # 1.5 s to import

    _check_lengths(reference, estimate)
    if not _varies(reference):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            score: Tensor = short_time_objective_intelligibility(estimate.cpu(), reference.cpu(), rate)
        except RuntimeWarning:  # pystoi would go on with the score 1e-5
            return None
    return score.item()


def pesq_wb(reference: Tensor, estimate: Tensor) -> float | None:
    """Perceptual evaluation of speech quality, wide-band, 1.04 to 4.64, higher is better (ITU-T P.862.2), at 16 kHz.

    None where it is undefined: digital silence, less than 0.25 s, or no utterance found. It needs the package `pesq`,
    see `pesq_is_missing`. Meant for 8 to 30 s of speech; its C code has room for 50 utterances, some minutes.
    """
    from pesq import BufferTooShortError, NoUtterancesError
    from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality

    _check_lengths(reference, estimate)
    if not (_varies(reference) and _varies(estimate)):
        return None
    try:
        score: Tensor = perceptual_evaluation_speech_quality(estimate.cpu(), reference.cpu(), 16_000, "wb")
    except (BufferTooShortError, NoUtterancesError, ValueError):  # a level beyond the range of its floats: NaN inside
        return None
    return score.item()


def pesq_is_missing() -> str | None:
    """Why there is no PESQ here, with the mend; None where there is."""
    if importlib.util.find_spec("pesq") is None:
        return "the package pesq is not installed: pip install 'snac_exp[metrics]'"
    return None


def _rms_db(reference: Tensor, estimate: Tensor, floor: Tensor) -> Tensor:
    """RMS over the first axis of the level difference in dB, both clamped at `floor`: (K, T) -> (T,)."""
    difference = 10 * (reference.maximum(floor) / estimate.maximum(floor)).log10()
    return difference.square().mean(dim=0).sqrt()


def _log_mel(waveform: Tensor, rate: int, n_fft: int, n_mels: int) -> Tensor:
    """log10 mel magnitudes clamped at 1e-5: (N,) -> (n_mels, frames)."""
    magnitude = power_spectrogram(waveform, n_fft, n_fft // 4).sqrt() * (4 / n_fft)
    mel: Tensor = _mel_bank(rate, n_fft, n_mels).to(magnitude) @ magnitude
    return mel.clamp_min(1e-5).log10()


@lru_cache
def _mel_bank(rate: int, n_fft: int, n_mels: int) -> Tensor:
    bank: Tensor = F_audio.melscale_fbanks(n_fft // 2 + 1, 0.0, rate / 2, n_mels, rate, norm=None, mel_scale="slaney")
    return bank.T.contiguous()


def _varies(waveform: Tensor) -> bool:
    return bool(waveform.max() > waveform.min())


def _check_lengths(reference: Tensor, estimate: Tensor) -> None:
    if reference.shape != estimate.shape or reference.dim() != 1:
        raise ValueError(
            f"reference and estimate are two waveforms of one length (N,), not {tuple(reference.shape)} "
            f"and {tuple(estimate.shape)}: cut the estimate to the reference's length first"
        )
