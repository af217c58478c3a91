import importlib
import math

import pytest
import torch
from torch import Tensor

from snac_exp.losses import terms
from snac_exp.losses.pair import SignalPair
from snac_exp.metrics.spectra import default_n_ffts
from snac_exp.metrics.waveform.l1 import l1
from snac_exp.metrics.waveform.lsd import lsd
from snac_exp.metrics.waveform.lsd_high import HighBand, lsd_high
from snac_exp.metrics.waveform.mel_distance import mel_distance
from snac_exp.metrics.waveform.si_sdr import si_sdr
from snac_exp.metrics.waveform.stft_complex import stft_complex
from snac_exp.metrics.waveform.stft_magnitude import stft_magnitude
from snac_exp.metrics.waveform.stoi import stoi

RATE = 48_000


def noise(seconds: float = 1.0, seed: int = 0, scale: float = 0.1) -> Tensor:
    return scale * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def band(waveform: Tensor, low_hz: float, high_hz: float) -> Tensor:
    """A part of the spectrum, by an ideal filter."""
    spectrum = torch.fft.rfft(waveform)
    hz = torch.fft.rfftfreq(len(waveform), 1 / RATE)
    return torch.fft.irfft(spectrum * ((hz >= low_hz) & (hz <= high_hz)), n=len(waveform))


def high_noise(seed: int) -> Tensor:
    return 0.01 * band(noise(2.0, seed), 12_500, 24_000)


def voiced() -> Tensor:
    """A low band, faded in and out, that leaves nothing above 12 kHz."""
    fade = torch.linspace(0, 1, RATE).minimum(torch.tensor(0.1)) * 10
    return band(noise(2.0), 0, 11_000) * torch.cat([fade, fade.flip(0)])


GATE = ((torch.arange(2 * RATE) // (RATE // 4)) % 2).float()


def bursts() -> Tensor:
    """Speech-like: a low band always, a high band in every second quarter of a second."""
    return voiced() + GATE * high_noise(seed=1)


def test_identical_signals_have_distance_zero() -> None:
    signal = noise()
    assert lsd_high(signal, signal) == HighBand(0.0, 0.0, 1.0)
    assert lsd(signal, signal, RATE) == 0.0
    assert mel_distance(signal, signal, RATE) == 0.0
    assert l1(signal, signal, RATE) == 0
    assert stft_magnitude(signal, signal, RATE) == 0
    assert stft_complex(signal, signal, RATE) == 0


def test_a_gain_of_two_is_6_02_db() -> None:
    signal = noise()
    expected = 20 * math.log10(2)
    high = lsd_high(signal, 2 * signal)
    assert high.active_db == pytest.approx(expected, abs=1e-4)
    assert high.all_db == pytest.approx(expected, abs=1e-4)
    assert lsd(signal, 2 * signal, RATE) == pytest.approx(expected, abs=1e-4)
    assert mel_distance(signal, 2 * signal, RATE) == pytest.approx(math.log10(2), abs=1e-4)


def test_lsd_high_of_a_missing_high_band_is_its_level_above_the_floor() -> None:
    """Against the definition written out anew: frame by frame, band by band, in double precision."""
    reference = bursts()
    window = torch.hann_window(2048, dtype=torch.float64)
    padded = torch.cat([reference[1:1025].flip(0), reference, reference[-1025:-1].flip(0)]).double()
    spectra = torch.fft.rfft(padded.unfold(0, 2048, 512) * window).abs() ** 2
    floor = spectra.max().item() * 1e-8
    distances, active = [], []
    for frame in spectra:
        bands = [frame[512 + 16 * index : 528 + 16 * index].mean().item() for index in range(32)]
        levels = [10 * math.log10(max(power, floor) / floor) for power in bands]
        distances.append(math.sqrt(sum(level**2 for level in levels) / 32))
        active.append(max(bands) > floor)
    measured = lsd_high(reference, voiced())
    expected = sum(distance for distance, is_active in zip(distances, active, strict=True) if is_active) / sum(active)
    assert 0.5 < measured.active_fraction < 0.65
    assert measured.active_fraction == pytest.approx(sum(active) / len(active), abs=1e-6)
    assert measured.active_db == pytest.approx(expected, rel=1e-3)
    assert measured.all_db == pytest.approx(sum(distances) / len(distances), rel=1e-3)


def test_s15_lsd_high_prefers_the_true_envelope_to_silence() -> None:
    """Complex STFT L1 prefers silence above 12 kHz to noise of the right level; this measure must not."""
    reference = bursts()
    silent, right = voiced(), voiced() + GATE * high_noise(seed=2)
    complex_of = [stft_complex(reference, it, RATE) or 0.0 for it in (silent, right)]
    assert complex_of[0] < complex_of[1]
    silent_db, right_db = (lsd_high(reference, it).active_db for it in (silent, right))
    assert silent_db is not None
    assert right_db is not None
    assert right_db < 0.2 * silent_db


def test_hiss_does_not_win() -> None:
    """No constant hiss, however loud, is better over all frames than following the bursts; pauses punish it."""
    reference = bursts()
    silence = lsd_high(reference, voiced())
    assert silence.all_db is not None
    for scale in (0.01, 0.1, 1.0, 10.0):
        hissing = lsd_high(reference, voiced() + scale * high_noise(seed=3))
        assert hissing.all_db is not None
        assert hissing.all_db > 0.5 * silence.all_db
    loud = lsd_high(reference, voiced() + 10 * high_noise(seed=3))
    assert loud.all_db is not None
    assert loud.all_db > silence.all_db
    assert (
        loud.active_fraction == silence.active_fraction
    )  # the estimate moves neither the floor nor the choice of frames


def test_hiss_on_a_reference_without_a_high_band_is_no_gain() -> None:
    hissing = lsd_high(voiced(), voiced() + high_noise(seed=1))
    assert hissing.active_db is None  # no frame to be right in: undefined and counted, not 0
    assert hissing.active_fraction == 0.0
    assert hissing.all_db is not None
    assert hissing.all_db > 20


def test_digital_silence_is_undefined() -> None:
    silence = torch.zeros(RATE)
    assert lsd_high(silence, noise()) == HighBand(None, None, 0.0)
    assert lsd(silence, noise(), RATE) is None
    assert si_sdr(silence, noise(), RATE) is None
    assert stoi(silence, noise(), RATE) is None


def test_a_silent_estimate_is_finite() -> None:
    high = lsd_high(noise(), torch.zeros(RATE))
    assert high.active_db is not None
    assert 60 < high.active_db < 80


def test_lsd_is_restricted_to_a_band() -> None:
    reference = noise()
    estimate = band(reference, 0, 12_000)
    below = lsd(reference, estimate, RATE, 0, 11_900)
    above = lsd(reference, estimate, RATE, 12_100)
    assert below == pytest.approx(0.0, abs=0.1)
    assert above is not None
    assert above > 50
    with pytest.raises(ValueError, match="no bin"):
        lsd(reference, estimate, RATE, 25_000)


def test_reconstruction_distances_of_known_signals() -> None:
    """L1 of a constant difference; complex STFT of zero output is the mean of |Re| + |Im|, magnitude of |X|."""
    reference = noise()
    silence = torch.zeros(RATE)
    spectrum = torch.stft(reference, 1024, 256, window=torch.ones(1024), return_complex=True)
    assert l1(reference, silence, RATE) == pytest.approx(reference.abs().mean().item(), rel=1e-5)
    magnitude = stft_magnitude(reference, silence, RATE, n_ffts=[1024])
    assert magnitude == pytest.approx(spectrum.abs().mean().item(), rel=1e-4)
    parts = spectrum.real.abs().mean() + spectrum.imag.abs().mean()
    assert stft_complex(reference, silence, RATE, n_ffts=[1024]) == pytest.approx(parts.item(), rel=1e-4)


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_what_is_trained_is_measured_alike_by_other_code(rate: int) -> None:
    """The yardstick is independent of the loss terms; in their plain form both give the same values."""
    reference, estimate = noise(), 0.7 * noise() + 0.3 * noise(seed=1)
    pair = SignalPair(
        prediction=estimate[None, None],
        target=reference[None, None],
        valid_samples=torch.tensor([RATE]),
        sample_rate=rate,
        n_ffts=default_n_ffts(rate),
    )
    for metric in (l1, stft_magnitude, stft_complex):
        term = getattr(importlib.import_module(f"{terms.__name__}.{metric.__name__}"), metric.__name__)
        assert metric(reference, estimate, rate) == pytest.approx(term(pair).item(), rel=1e-6)


def test_stft_sizes_follow_the_recipes() -> None:
    assert default_n_ffts(24_000) == (1024, 2048, 4096)
    assert default_n_ffts(48_000) == (1024, 2048, 4096, 8192)


def test_si_sdr_of_noise_at_a_tenth_is_20_db_at_any_gain() -> None:
    reference = noise(4.0)
    estimate = reference + 0.1 * noise(4.0, seed=1)
    assert si_sdr(reference, estimate, RATE) == pytest.approx(20.0, abs=0.2)
    assert si_sdr(reference, 3 * estimate, RATE) == pytest.approx(si_sdr(reference, estimate, RATE), abs=1e-3)


def test_stoi_falls_with_noise_and_is_undefined_when_short() -> None:
    gate = torch.sin(torch.arange(3 * RATE) / RATE * 2 * torch.pi * 4) ** 2
    reference = noise(3.0) * gate
    assert stoi(reference, reference, RATE) == pytest.approx(1.0, abs=1e-6)
    noisy = stoi(reference, reference + noise(3.0, seed=1), RATE)
    assert noisy is not None
    assert noisy < 0.8
    assert stoi(reference[:4800], reference[:4800], RATE) is None


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(48000,\) and \(47999,\)"):
        lsd_high(noise(), noise()[1:])
