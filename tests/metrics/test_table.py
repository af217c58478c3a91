"""The table of metrics, and every metric of an evaluation against an implementation that shares no code with ours."""

import importlib.util
import math
import subprocess
from types import ModuleType

import auraloss
import numpy as np
import numpy.typing as npt
import pesq
import pystoi
import pytest
import scipy.signal
import torch
from torch import Tensor

from snac_exp.metrics.metric import Metric
from snac_exp.metrics.table import (
    ALL,
    METRICS,
    chosen_metrics,
    collected,
    measured,
    metric_of,
    missing_metrics,
    order_of,
    present_metrics,
)
from snac_exp.metrics.waveform.lsd_high import lsd_high
from snac_exp.metrics.waveform.pesq import pesq_wb
from tests.helpers.warm import COLD

RATES_AND_SIZES = [(24_000, (1024, 2048, 4096)), (48_000, (1024, 2048, 4096, 8192))]
Array = npt.NDArray[np.float64]


def pair(rate: int, seconds: float = 1.2) -> tuple[Tensor, Tensor]:
    """Gated noise with a falling spectrum, and the same at another level with noise added."""
    num = round(seconds * rate)
    generator = torch.Generator().manual_seed(rate)
    noise, other = torch.randn(2, num, generator=generator)
    slope = torch.fft.irfft(torch.fft.rfft(noise) * torch.linspace(1, 0.05, num // 2 + 1), n=num)
    reference = 0.2 * slope * (0.3 + torch.sin(torch.arange(num) / rate * 20).clamp_min(0))
    return reference, 0.8 * reference + 0.01 * other


def spectra(signal: Tensor, n_fft: int) -> npt.NDArray[np.complex128]:
    """A plain transform of frames, mirrored at the ends, in SciPy and double precision."""
    *_, spectrum = scipy.signal.stft(
        signal.double().numpy(), window="boxcar", nperseg=n_fft, noverlap=n_fft * 3 // 4, boundary="even", padded=False
    )
    return np.asarray(spectrum * n_fft)  # SciPy divides by the sum of the window


@pytest.mark.parametrize(("rate", "n_ffts"), RATES_AND_SIZES)
def test_s12_both_stft_distances_in_the_recipes_sizes_at_both_rates(rate: int, n_ffts: tuple[int, ...]) -> None:
    """Phase 10 trained on magnitudes, 11 and 12 on complex spectra: all are measured in both, torch.stft's defaults."""
    reference, estimate = pair(rate)
    found = measured(reference, estimate, rate, native_high_band=True)
    magnitude, complex_ = [], []
    for n_fft in n_ffts:
        ours, theirs = spectra(reference, n_fft), spectra(estimate, n_fft)
        magnitude.append(np.abs(np.abs(ours) - np.abs(theirs)).mean())
        complex_.append(np.abs(ours.real - theirs.real).mean() + np.abs(ours.imag - theirs.imag).mean())
    assert found["stft_magnitude"] == pytest.approx(np.mean(magnitude), rel=1e-5)
    assert found["stft_complex"] == pytest.approx(np.mean(complex_), rel=1e-5)


@pytest.mark.parametrize(("rate", "n_ffts"), RATES_AND_SIZES)
def test_s12_magnitude_agrees_with_auraloss(rate: int, n_ffts: tuple[int, ...]) -> None:
    reference, estimate = pair(rate)
    distances = [
        auraloss.freq.STFTLoss(n_fft, n_fft // 4, n_fft, window="ones", w_sc=0.0, w_log_mag=0.0, w_lin_mag=1.0)(
            estimate[None, None], reference[None, None]
        ).item()
        for n_fft in n_ffts
    ]
    found = measured(reference, estimate, rate, native_high_band=True)
    assert found["stft_magnitude"] == pytest.approx(np.mean(distances), rel=1e-5)


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_l1_si_sdr_pesq_and_stoi(rate: int) -> None:
    reference, estimate = pair(rate)
    found = measured(reference, estimate, rate, native_high_band=True)
    assert found["l1"] == pytest.approx(np.abs(reference.double().numpy() - estimate.double().numpy()).mean(), rel=1e-5)
    si_sdr = -auraloss.time.SISDRLoss()(estimate[None, None], reference[None, None]).item()
    assert found["si_sdr_db"] == pytest.approx(si_sdr, rel=1e-5)
    speech, heard = (scipy.signal.resample_poly(it.double().numpy(), 16_000, rate) for it in (reference, estimate))
    assert found["pesq_wb"] == pytest.approx(pesq.pesq(16_000, speech, heard, "wb"), abs=0.01)
    assert found["stoi"] == pytest.approx(pystoi.stoi(speech, heard, 16_000), abs=1e-3)


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_mel_distance_written_out_anew(rate: int) -> None:
    """auraloss has area-normalised mel bands, which is another measure; so the definition itself, in NumPy."""
    reference, estimate = pair(rate)
    distances = []
    for n_fft, num_mels in ((128, 10), (256, 20), (512, 40), (1024, 80), (2048, 160)):
        levels = [np.log10(np.maximum(mel(it, rate, n_fft, num_mels), 1e-5)) for it in (reference, estimate)]
        distances.append(np.abs(levels[0] - levels[1]).mean())
    found = measured(reference, estimate, rate, native_high_band=True)
    assert found["mel_distance"] == pytest.approx(np.mean(distances), rel=1e-4)


def mel(signal: Tensor, rate: int, n_fft: int, num_mels: int) -> Array:
    """Magnitudes under a Hann window in triangular bands of Slaney's mel scale, peak 1: (bands, frames)."""
    padded = np.pad(signal.double().numpy(), n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: n_fft // 4]
    magnitude = np.abs(np.fft.rfft(frames * scipy.signal.get_window("hann", n_fft))) * 4 / n_fft
    highest = 15 + 27 * math.log(rate / 2 / 1000) / math.log(6.4)
    steps = np.linspace(0, highest, num_mels + 2)
    edges = np.where(steps < 15, steps * 200 / 3, 1000 * 6.4 ** ((steps - 15) / 27))
    hz = np.linspace(0, rate / 2, n_fft // 2 + 1)
    bands = [np.interp(hz, edges[i : i + 3], [0, 1, 0]) for i in range(num_mels)]
    return np.asarray(np.stack(bands) @ magnitude.T)


def test_log_spectral_distance_below_12_khz_written_out_anew() -> None:
    reference, estimate = pair(48_000)
    power = []
    for signal in (reference, estimate):
        padded = np.pad(signal.double().numpy(), 1024, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, 2048)[::512] * scipy.signal.get_window("hann", 2048)
        power.append(np.abs(np.fft.rfft(frames)) ** 2)
    floor = power[0].max() * 1e-8
    levels = [10 * np.log10(np.maximum(it, floor)) for it in power]
    low = (levels[0] - levels[1])[:, :513]  # bins of 23.4 Hz up to 12 kHz
    found = measured(reference, estimate, 48_000, native_high_band=True)
    assert found["lsd_low_db"] == pytest.approx(np.sqrt((low**2).mean(axis=1)).mean(), rel=1e-4)
    assert found["lsd_high_db"] == lsd_high(reference, estimate).active_db
    assert found["lsd_high_all_db"] == lsd_high(reference, estimate).all_db


@pytest.mark.slow
def test_every_rate_has_its_columns_and_no_others() -> None:
    for rate in (24_000, 48_000):
        found = measured(*pair(rate), rate, native_high_band=True)
        assert set(found) == {metric.name for metric in chosen_metrics() if metric.applies(rate)}
        assert all(value is not None for value in found.values())


@pytest.mark.slow
def test_a_narrow_recording_has_no_say_above_12_khz_and_counts_below() -> None:
    reference, estimate = pair(48_000)
    wide, narrow = (measured(reference, estimate, 48_000, native_high_band=it) for it in (True, False))
    differing = {name for name in wide if wide[name] != narrow[name]}
    assert differing == {"lsd_high_db", "lsd_high_all_db", "level_high_db"}
    assert narrow["lsd_high_db"] is None
    assert narrow["lsd_high_all_db"] is None


@pytest.mark.parametrize(("gain_db", "told"), [(-12.0, -12.0), (0.0, 0.0), (3.0, 3.0), (-math.inf, -80.0)])
def test_levels_of_a_scaled_signal(gain_db: float, told: float) -> None:
    reference, _ = pair(48_000)
    found = measured(reference, reference * 10 ** (gain_db / 20), 48_000, native_high_band=True)
    assert found["level_db"] == pytest.approx(told, abs=1e-4)
    assert found["level_high_db"] == pytest.approx(told, abs=1e-4)


def test_what_is_undefined_is_none_and_never_nan() -> None:
    silence = torch.zeros(48_000)
    found = measured(silence, silence, 48_000, native_high_band=True)
    undefined = {name for name, value in found.items() if value is None}
    high = {"lsd_high_db", "lsd_high_all_db", "level_high_db"}
    assert undefined == high | {"si_sdr_db", "level_db", "lsd_db", "lsd_low_db", "pesq_wb", "stoi"}
    short = measured(*(it[:3000] for it in pair(48_000)), 48_000, native_high_band=True)
    assert {name for name, value in short.items() if value is None} >= {"stft_magnitude", "stft_complex", "stoi"}
    with pytest.raises(ArithmeticError, match="l1 came out as nan"):
        measured(torch.full((9600,), torch.nan), torch.zeros(9600), 48_000, native_high_band=False)


def test_pesq_at_its_ends() -> None:
    speech = 0.1 * torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    assert pesq_wb(speech, speech, 16_000) == pytest.approx(4.644, abs=1e-3)
    assert pesq_wb(speech, 1e-30 * speech, 16_000) is None
    assert pesq_wb(speech[:3000], speech[:3000], 16_000) is None


def test_without_pesq_its_column_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_metrics() == {}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(missing_metrics()) == ["pesq_wb"]
    assert "pip install 'snac_exp[metrics]'" in missing_metrics()["pesq_wb"]
    assert "pesq_wb" not in {metric.name for metric in present_metrics()}
    assert "pesq_wb" not in measured(*pair(24_000), 24_000, native_high_band=True)


def test_columns_stand_in_this_order_with_these_headings() -> None:
    assert [(metric.full_title, metric.arrow, metric.decimals) for metric in chosen_metrics()] == [
        ("L1 (full scale)", "↓", 5),
        ("STFT magnitude", "↓", 4),
        ("STFT complex", "↓", 4),
        ("mel distance (log10)", "↓", 4),
        ("SI-SDR (dB)", "↑", 2),
        ("level (dB)", "→ 0", 2),
        ("LSD (dB)", "↓", 2),
        ("LSD < 12 kHz (dB)", "↓", 2),
        ("LSD > 12 kHz (dB)", "↓", 2),
        ("LSD > 12 kHz, all frames (dB)", "↓", 2),
        ("level > 12 kHz (dB)", "→ 0", 2),
        ("PESQ wide-band (1 to 4.6)", "↑", 3),
        ("STOI (0 to 1)", "↑", 4),
    ]
    assert [name for name in sorted(["b/stoi", "a/what", "a/l1", "a/loss"], key=order_of)] == [
        "a/l1",
        "b/stoi",
        "a/loss",
        "a/what",
    ]


def test_an_unknown_metric_is_called_what_it_is() -> None:
    found = metric_of("head_48k/my_distance")
    assert (found.name, found.title, found.better, found.arrow) == ("my_distance", "my distance", None, "")
    assert found.text(0.123456) == "0.1235"


def test_a_metric_is_one_file_and_two_of_one_name_are_refused() -> None:
    """What a new file in metrics/waveform/ has to define is a `Metric`; nothing lists the files."""
    mine, other = ModuleType("mine"), ModuleType("other")
    mine.METRIC = Metric("crest", "crest factor", "dB", order=5, function=lambda reference, estimate, rate: 1.0)  # type: ignore[attr-defined]
    assert [metric.name for metric in collected(iter([mine]))] == ["crest"]
    other.METRIC = Metric("crest", "another")  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="mine and other both define 'crest'"):
        collected(iter([mine, other]))


def test_what_training_logs_is_described_but_not_measured() -> None:
    logged = {metric.name for metric in ALL} - {metric.name for metric in METRICS}
    assert {"objective", "cross_entropy", "log_mel"} <= logged
    with pytest.raises(ValueError, match="logged by training"):
        measured(*pair(24_000), 24_000, native_high_band=True, metrics=(metric_of("objective"),))


@pytest.mark.slow
def test_descriptions_are_read_without_torch() -> None:
    """Pages, `compare` and refusals need titles at once; torch takes seconds."""
    code = "import sys, snac_exp.metrics.table, snac_exp.metrics.keys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([COLD, "-c", code], check=False).returncode == 0
