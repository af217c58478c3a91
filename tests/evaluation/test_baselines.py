import pytest
import torch

from snac_exp.errors import DataError
from snac_exp.evaluation.baselines import MeanSpectrumNoise, interpolated
from snac_exp.metrics.spectra import high_band_power, power_spectrogram
from snac_exp.metrics.waveform.lsd_high import lsd_high


def noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def test_interpolation_is_exact_for_a_sine_and_adds_nothing_above() -> None:
    expected = torch.sin(2 * torch.pi * 5000 * torch.arange(48_000, dtype=torch.float64) / 48_000).float()
    torch.testing.assert_close(interpolated(expected[::2])[500:-500], expected[500:-500], atol=1e-4, rtol=0)
    power = power_spectrogram(interpolated(noise(48_000)), 2048, 512)[:, 4:-4]
    assert 10 * (power[540:].max() / power.max()).log10() < -65  # above 12.65 kHz


def test_interpolation_multiplies_the_length_by_powers_of_two() -> None:
    assert [interpolated(noise(1001), factor).shape[0] for factor in (1, 2, 4)] == [1001, 2002, 4004]
    with pytest.raises(ValueError, match="power of two"):
        interpolated(noise(1001), 3)


def test_the_noise_has_the_spectrum_it_was_fitted_on() -> None:
    slope = torch.fft.irfft(torch.fft.rfft(noise(96_000, seed=1)) * torch.linspace(1, 0.01, 48_001), n=96_000)
    model = MeanSpectrumNoise.fitted([slope])
    low = interpolated(noise(48_000, seed=2))
    added = model.added_to(low, low, seed=5) - low
    bands = high_band_power(power_spectrogram(added, 2048, 512)[:, 4:-4])
    levels = (10 * bands.log10()).mean(dim=1) - 10 * power_spectrogram(low, 2048, 512)[:1024].max().log10()
    torch.testing.assert_close(levels, model.levels_db, atol=0.6, rtol=0)
    assert model.levels_db[0] - model.levels_db[-1] == pytest.approx(28, abs=2)  # amplitude 0.5 to about 0.02


def test_the_noise_follows_the_utterance_level_and_its_seed() -> None:
    model = MeanSpectrumNoise(torch.full((32,), -40.0))
    low = interpolated(noise(24_000))
    added = model.added_to(low, low, seed=5) - low
    torch.testing.assert_close(
        model.added_to(0.01 * low, 0.01 * low, seed=5) - 0.01 * low, 0.01 * added, atol=1e-7, rtol=1e-2
    )
    assert torch.equal(model.added_to(low, low, seed=5), model.added_to(low, low, seed=5))
    assert not torch.equal(model.added_to(low, low, seed=5), model.added_to(low, low, seed=6))


def test_mean_spectrum_noise_beats_interpolation_on_a_steady_high_band() -> None:
    reference = noise(96_000, seed=3)
    low = interpolated(reference[::2]) * 0.7
    noisy = MeanSpectrumNoise.fitted([noise(96_000, seed=4)]).added_to(low, low, seed=0)
    with_noise, without = lsd_high(reference, noisy).active_db, lsd_high(reference, low).active_db
    assert with_noise is not None
    assert without is not None
    assert with_noise < 0.1 * without


def test_silent_training_audio_is_an_error() -> None:
    with pytest.raises(DataError, match="no audio above 12 kHz"):
        MeanSpectrumNoise.fitted([torch.zeros(4800)])
