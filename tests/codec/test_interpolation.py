import math

import pytest
import torch

from snac_exp.codec.interpolation import HALF_LENGTH, interpolate2x


def test_even_samples_are_the_input_itself():
    x = torch.randn(3, 1, 400)
    y = interpolate2x(x)
    assert y.shape == (3, 1, 800)
    assert torch.equal(y[..., ::2], x)


@pytest.mark.parametrize("frequency_hz", [50, 1000, 5000, 9000, 11000, 11400])
def test_a_sine_below_the_band_edge_stays_a_sine(frequency_hz):
    n = torch.arange(2000, dtype=torch.float64)
    x = torch.sin(2 * math.pi * frequency_hz * n / 24000 + 0.3).float()
    expected = torch.sin(2 * math.pi * frequency_hz * torch.arange(4000, dtype=torch.float64) / 48000 + 0.3).float()
    error = interpolate2x(x[None, None])[0, 0] - expected
    assert error[4 * HALF_LENGTH : -4 * HALF_LENGTH].abs().max() < 2e-4


def test_nothing_appears_above_the_old_band():
    x = torch.randn(1, 1, 48000, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(8192)
    spectrum = torch.stft(interpolate2x(x)[0], 8192, window=window, return_complex=True)[0, :, 4:-4]
    power = spectrum.abs().square().mean(-1)
    low, high = power[50:1900].mean(), power[2150:].mean()  # the old band ends at bin 2048, 12 kHz
    assert 10 * torch.log10(high / low) < -75


def test_beyond_the_ends_is_zero():
    x = torch.randn(1, 1, 300)
    padded = torch.nn.functional.pad(x, (100, 100))
    assert torch.allclose(interpolate2x(padded)[..., 200:-200], interpolate2x(x), atol=1e-6)


def test_autocast_does_not_coarsen_it():
    x = torch.randn(1, 1, 300)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(interpolate2x(x), interpolate2x(x.clone()))
        assert interpolate2x(x).dtype == torch.float32
        inside = interpolate2x(x)
    assert torch.equal(inside, interpolate2x(x))
