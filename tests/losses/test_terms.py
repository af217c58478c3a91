import math

import auraloss
import pytest
import torch

from snac_exp.losses.pair import SignalPair
from snac_exp.losses.terms.band_levels import band_levels
from snac_exp.losses.terms.band_powers import band_powers
from snac_exp.losses.terms.envelope_correlation import envelope_correlation
from snac_exp.losses.terms.l1 import l1
from snac_exp.losses.terms.log_mel import log_mel
from snac_exp.losses.terms.low_band_waveform import low_band_waveform
from snac_exp.losses.terms.mel_convergence import mel_convergence
from snac_exp.losses.terms.stft_complex import stft_complex
from snac_exp.losses.terms.stft_magnitude import stft_magnitude
from snac_exp.system.torchaudio import transforms

N_FFTS = (1024, 2048, 4096)
NUM_SAMPLES = 12_000


def _noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _whole(prediction, target, rate=24000, n_ffts=N_FFTS, **options):
    valid = torch.full((prediction.shape[0],), prediction.shape[-1])
    return SignalPair(prediction, target, valid, rate, n_ffts, **options)


@pytest.fixture
def signals():
    return _noise(3, 1, NUM_SAMPLES), _noise(3, 1, NUM_SAMPLES, seed=1)


@pytest.mark.parametrize("num_samples", [12_000, 12_288])
@pytest.mark.parametrize(("window", "normalized"), [(None, False), ("hann", False), (None, True), ("hann", True)])
def test_terms_are_the_recipes_plain_formulas(window, normalized, num_samples):
    prediction, target = _noise(3, 1, num_samples), _noise(3, 1, num_samples, seed=1)
    in_complex, in_magnitude = [], []
    for n_fft in N_FFTS:
        taper = torch.hann_window(n_fft) if window else torch.ones(n_fft)
        p, y = (
            torch.stft(x[:, 0], n_fft, window=taper, normalized=normalized, return_complex=True)
            for x in (prediction, target)
        )
        in_complex.append((p.real - y.real).abs().mean() + (p.imag - y.imag).abs().mean())
        in_magnitude.append((p.abs() - y.abs()).abs().mean())
    pair = _whole(prediction, target, window=window, normalized=normalized)
    assert l1(pair).item() == pytest.approx((prediction - target).abs().mean().item(), rel=1e-6)
    assert stft_complex(pair).item() == pytest.approx((sum(in_complex) / 3).item(), rel=1e-6)
    assert stft_magnitude(pair).item() == pytest.approx((sum(in_magnitude) / 3).item(), rel=1e-6)


def test_magnitude_agrees_with_auraloss(signals):
    prediction, target = signals
    oracle = auraloss.freq.MultiResolutionSTFTLoss(
        fft_sizes=list(N_FFTS),
        hop_sizes=[n // 4 for n in N_FFTS],
        win_lengths=list(N_FFTS),
        w_sc=0.0,
        w_log_mag=0.0,
        w_lin_mag=1.0,
    )
    ours = stft_magnitude(_whole(prediction, target, window="hann")).item()
    assert ours == pytest.approx(oracle(prediction, target).item(), rel=1e-5)


def test_log_mel_agrees_with_torchaudios_mel_spectrogram(signals):
    prediction, target = signals
    distances = []
    for n_fft, num_mels in ((512, 40), (1024, 80), (2048, 160)):
        mel = transforms.MelSpectrogram(
            24000, n_fft, hop_length=n_fft // 4, n_mels=num_mels, power=1.0, mel_scale="slaney"
        )
        p, y = ((mel(x) * 4 / n_fft + 1e-5).log10() for x in (prediction, target))
        distances.append((p - y).abs().mean())
    assert log_mel(_whole(prediction, target)).item() == pytest.approx((sum(distances) / 3).item(), rel=1e-5)


def test_log_mel_of_a_doubled_signal(signals):
    _, target = signals
    assert log_mel(_whole(2 * target, target)).item() == pytest.approx(math.log10(2), rel=1e-3)


@pytest.mark.parametrize("rate", [16000, 24000, 48000, 88200])
def test_no_mel_band_is_empty(rate):
    """White noise excites every band, so none may be at the floor, where a constant 0 would dilute the mean."""
    from snac_exp.losses.terms.log_mel import SCALES, mel_bank

    for n_fft, num_mels in SCALES:
        assert (mel_bank(rate, n_fft, num_mels, torch.device("cpu")).amax(dim=0) > 0).all(), (rate, n_fft)


@pytest.mark.parametrize("term", [l1, stft_complex, stft_magnitude, log_mel])
def test_identical_signals_are_at_distance_zero_with_finite_gradient(term, signals):
    for target in (signals[1], torch.zeros(1, 1, NUM_SAMPLES)):
        leaf = target.clone().requires_grad_()
        loss = term(_whole(leaf, target))
        assert loss.item() == 0
        loss.backward()
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("term", [stft_complex, stft_magnitude, log_mel])
def test_a_silent_prediction_has_a_finite_gradient(term, signals):
    leaf = torch.zeros(3, 1, NUM_SAMPLES, requires_grad=True)
    term(_whole(leaf, signals[1])).backward()
    assert leaf.grad.isfinite().all()


def test_s15_complex_stft_rewards_silence_magnitude_does_not():
    """Noise above 12 kHz against silence there and against other noise of exactly its level.

    For Gaussian bins of deviation s: L1 of Re (or Im) is s sqrt(2/pi) for silence, sqrt(2) times that for other noise;
    L1 of magnitudes is s sqrt(pi/2) for silence, (2 - sqrt(2)) times that for other noise.
    """
    low, high, other = (_band(seed, *edges) for seed, edges in ((0, (0, 11e3)), (1, (12e3, 24e3)), (2, (12e3, 24e3))))
    n_ffts = (1024, 2048, 4096, 8192)
    silence = _whole(low, low + high, 48000, n_ffts, window="hann")
    noise = _whole(low + other, low + high, 48000, n_ffts, window="hann")
    assert (stft_complex(noise) / stft_complex(silence)).item() == pytest.approx(2**0.5, rel=0.02)
    assert (stft_magnitude(noise) / stft_magnitude(silence)).item() == pytest.approx(2 - 2**0.5, rel=0.02)
    assert log_mel(noise) < 0.2 * log_mel(silence)


def _band(seed: int, low_hz: float, high_hz: float) -> torch.Tensor:
    spectrum = torch.fft.rfft(_noise(1, 1, 48000, seed=seed))
    frequencies = torch.fft.rfftfreq(48000, 1 / 48000)
    return torch.fft.irfft(spectrum * ((frequencies >= low_hz) & (frequencies < high_hz)))


def test_mel_convergence_is_a_relative_distance_that_padding_does_not_change(signals):
    prediction, target = signals
    assert mel_convergence(_whole(target, target)).item() == 0.0
    assert mel_convergence(_whole(1.5 * target, target)).item() == pytest.approx(0.5, rel=1e-4)
    valid = torch.full((3,), 9000)
    spoiled = prediction.clone()
    spoiled[..., 9000:] = 7.0
    values = [mel_convergence(SignalPair(p, target, valid, 24000, N_FFTS)).item() for p in (prediction, spoiled)]
    assert values[0] == values[1]


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_envelope_correlation_ignores_level_and_hears_other_envelopes(rate):
    steady = _noise(2, 1, rate)
    pulsed = steady * (1 + 0.9 * torch.sin(torch.arange(rate) * (2 * torch.pi * 6 / rate)))
    assert envelope_correlation(_whole(0.5 * pulsed, pulsed, rate)).item() < 0.02
    other = _noise(2, 1, rate, seed=5).requires_grad_()
    distance = envelope_correlation(_whole(other, pulsed, rate))
    assert 0.8 < distance.item() < 1.2
    assert torch.autograd.grad(distance, other)[0].isfinite().all()
    assert envelope_correlation(_whole(steady[..., :4096], steady[..., :4096], rate)).item() == 1.0


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_low_band_waveform_hears_the_phase_of_a_pitch_and_nothing_above_it(rate):
    time = torch.arange(rate // 2) / rate
    voice = 0.2 * torch.sin(2 * torch.pi * 150 * time).expand(2, 1, -1)
    assert low_band_waveform(_whole(voice, voice, rate)).item() == 0.0
    assert low_band_waveform(_whole(0 * voice, voice, rate)).item() == pytest.approx(1.0, abs=0.05)
    assert low_band_waveform(_whole(-voice, voice, rate)).item() == pytest.approx(4.0, abs=0.2)
    other_pitch = 0.2 * torch.sin(2 * torch.pi * 180 * time).expand(2, 1, -1)
    assert low_band_waveform(_whole(other_pitch, voice, rate)).item() > 1.5
    above = voice + 0.2 * torch.sin(2 * torch.pi * 2000 * time)
    assert low_band_waveform(_whole(above, voice, rate)).item() < 0.01
    assert low_band_waveform(_whole(above, voice, rate), corner_hz=2000.0, top_hz=2500.0).item() > 0.4


def test_terms_over_a_whole_signal_ignore_what_stands_in_the_padding(signals):
    prediction, target = signals
    valid = torch.tensor([9000, 12_000, 0])
    spoiled = prediction.clone()
    spoiled[0, :, 9000:] = 7.0
    spoiled[2] = 7.0
    for term in (low_band_waveform, band_levels, band_powers):
        values = [term(SignalPair(p, target, valid, 24000, N_FFTS)).item() for p in (prediction, spoiled)]
        assert values[0] == values[1] > 0


def test_band_levels_are_of_the_whole_signal_and_no_frame(signals):
    noise = 0.1 * signals[0]
    assert band_levels(_whole(2 * noise, noise)).item() == pytest.approx(0.301, rel=1e-2)
    # The same sound at another time has the same levels.
    assert band_levels(_whole(noise.flip(-1), noise)).item() < 0.02
    # A decibel too quiet and a decibel too loud are as wrong: nothing draws it towards silence.
    sides = [band_levels(_whole(noise * 10 ** (decibels / 20), noise)).item() for decibels in (-1, 1)]
    assert sides[0] == pytest.approx(sides[1], rel=1e-2)


def test_band_powers_are_least_at_the_level_where_noise_stands_for_a_voice():
    """As with a codec that knows how strong harmonics are and not where; levels of magnitudes are least below."""
    time = torch.arange(NUM_SAMPLES) / 24000
    voice = torch.stack([torch.sin(2 * math.pi * 200 * k * time + k * k) for k in range(1, 60)]).sum(0)[None, None]
    noise = _noise(1, 1, NUM_SAMPLES)
    noise = noise * voice.square().mean().sqrt() / noise.square().mean().sqrt()
    powers, levels = (
        [term(_whole(noise * 10 ** (decibels / 20), voice)).item() for decibels in (-3, 0, 3)]
        for term in (band_powers, band_levels)
    )
    assert powers == pytest.approx([0.15, 0.01, 0.15], abs=0.02)
    assert levels[0] < levels[1] < levels[2]


def test_the_floor_of_log_mel_says_from_which_level_on_it_counts():
    quiet = 1e-4 * _noise(1, 1, NUM_SAMPLES)
    pair = _whole(0 * quiet, quiet)
    assert log_mel(pair, floor=1e-3).item() < 0.02 < 0.3 < log_mel(pair).item()
