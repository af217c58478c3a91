"""Discriminators: shapes, what each can and cannot hear, levels, short signals."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from snac_exp.config.schema import Adversary
from snac_exp.errors import ConfigError
from snac_exp.losses.discriminators import QUIETEST_PEAK, BandDiscriminator, Discriminators, PeriodDiscriminator

TOY = Adversary("dac", periods=[2, 5], fft_sizes=[64, 32], period_channels=[4, 8, 8], band_channels=4)
DAC = Adversary("dac")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def built(settings: Adversary = TOY) -> Discriminators:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminators(settings)


@pytest.mark.slow
def test_the_published_sizes() -> None:
    with torch.device("meta"):
        discriminators = Discriminators(DAC)

    def conv(before: int, after: int, taps: int) -> int:
        return before * after * taps + 2 * after  # direction, gain and bias

    period = sum(conv(a, b, 5) for a, b in pairwise([1, 32, 128, 512, 1024, 1024])) + conv(1024, 1, 3)
    band = conv(2, 32, 27) + 3 * conv(32, 32, 27) + conv(32, 32, 9)
    expected = 5 * period + 3 * (5 * band + conv(32, 1, 9))
    assert sum(parameter.numel() for parameter in discriminators.parameters()) == expected == 42_519_760
    assert all("window" not in name for name in discriminators.state_dict())


@pytest.mark.parametrize(("period", "length"), [(2, 1000), (7, 1000), (7, 1001), (11, 12)])
def test_shapes_of_a_period(period: int, length: int) -> None:
    *features, score = PeriodDiscriminator(period, [4, 8, 16, 16])(noise(3, 1, length))
    rows = -(-length // period)
    for channels, feature in zip([4, 8, 16], features, strict=False):
        rows = -(-rows // 3)
        assert feature.shape == (3, channels, rows, period)
    assert features[-1].shape == (3, 16, rows, period)
    assert score.shape == (3, 1, rows, period)


def test_a_period_hears_its_columns_apart() -> None:
    judge = PeriodDiscriminator(5, [4, 8, 8])
    waveform = noise(1, 1, 500)
    changed = waveform.clone()
    changed[..., 3::5] = noise(100, seed=1)
    differing = (judge(waveform)[-1] - judge(changed)[-1]).abs().amax(dim=(0, 1, 2)) > 0
    assert differing.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("length", [512, 513, 640, 1000])
def test_shapes_of_bands(length: int) -> None:
    judge = BandDiscriminator(64, [0.0, 0.1, 0.5, 1.0], 4)
    *features, score = judge(noise(2, 1, length))
    frames = -(-length // 16)
    widths = []
    for band, (low, high) in enumerate([(0, 3), (3, 16), (16, 33)]):
        width = high - low
        for layer, stride in enumerate([1, 2, 2, 2, 1]):
            width = -(-width // stride)
            assert features[5 * band + layer].shape == (2, 4, frames, width)
        widths.append(width)
    assert len(features) == 15
    assert score.shape == (2, 1, frames, sum(widths))


def test_frames_are_spectra_centred_on_their_hops() -> None:
    judge = BandDiscriminator(64, [0.0, 1.0], 4)
    waveform = noise(1, 1, 640)
    spectrogram = judge.spectrogram(waveform)
    first = 10 * 16 + 8 - 32  # a window of 64 around the middle of hop 10
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)
    expected = np.fft.rfft(waveform[0, 0, first : first + 64].numpy() * window)
    assert spectrogram.shape == (1, 2, 40, 33)
    np.testing.assert_allclose(spectrogram[0, 0, 10].numpy(), expected.real, atol=1e-5)
    np.testing.assert_allclose(spectrogram[0, 1, 10].numpy(), expected.imag, atol=1e-5)


def test_a_band_hears_its_own_frequencies() -> None:
    judge = BandDiscriminator(256, [0.0, 0.5, 1.0], 4)
    time = torch.arange(4096.0)
    low, high = (0.3 * torch.sin(torch.pi * share * time)[None, None] for share in (0.2, 0.8))
    alone, together = judge(low), judge(low + high)
    change = [(a - b).abs()[..., 8:-8, :].max().item() for a, b in zip(alone, together, strict=True)]
    for lower, upper in zip(change[:5], change[5:10], strict=True):  # away from the reflected ends
        assert upper > 100 * lower


def test_every_discriminator_is_at_work_and_passes_a_gradient_to_the_waveform() -> None:
    judges = built()
    waveform = noise(2, 1, 400).requires_grad_()
    all_features = judges(waveform)
    assert [len(features) for features in all_features] == [4, 4, 26, 26]
    for features in all_features:
        (gradient,) = torch.autograd.grad(features[-1].sum(), waveform, retain_graph=True)
        assert gradient.abs().max() > 0
    torch.stack([layer.square().sum() for features in all_features for layer in features]).sum().backward()
    assert all(parameter.grad is not None for parameter in judges.parameters())


def test_the_level_is_not_judged_but_near_silence_is_not_raised() -> None:
    judges = built()
    waveform = noise(2, 1, 400) * torch.tensor([0.1, 0.2])[:, None, None]
    for a, b in zip(judges(waveform), judges(0.5 * waveform), strict=True):
        assert torch.allclose(a[-1], b[-1], atol=1e-5)
    quiet = waveform / waveform.abs().amax(-1, keepdim=True) * QUIETEST_PEAK
    loud = judges(waveform)
    assert torch.allclose(judges(quiet)[-1][0], loud[-1][0], atol=1e-5)
    assert torch.allclose(judges(quiet / 10)[-1][0], loud[-1][0], atol=1e-5) is False


def test_silence_has_finite_scores_and_bounded_gradients() -> None:
    judges = built()
    waveform = torch.zeros(1, 1, 400, requires_grad=True)
    total = torch.stack([layer.square().mean() for features in judges(waveform) for layer in features]).sum()
    total.backward()
    assert total.isfinite()
    assert waveform.grad.isfinite().all()
    assert waveform.grad.abs().max() < 100 / QUIETEST_PEAK


@pytest.mark.parametrize("length", [400, 401, 413, 447])
def test_any_length_will_do(length: int) -> None:
    assert all(layer.isfinite().all() for features in built()(noise(1, 1, length)) for layer in features)


@pytest.mark.parametrize(
    ("settings", "shortest", "message"),
    [
        (TOY, 29, "signals of 28 samples are too short for adversary.fft_sizes=64: they need more than 28; use longer"),
        (replace(TOY, fft_sizes=[], periods=[5]), 3, "of 2 samples are too short for adversary.periods=5: they need"),
    ],
)
def test_signals_too_short_to_be_reflected_are_refused(settings: Adversary, shortest: int, message: str) -> None:
    judges = built(settings)
    assert all(features[-1].isfinite().all() for features in judges(noise(1, 1, shortest)))
    with pytest.raises(ConfigError, match=message):
        judges(noise(1, 1, shortest - 1))


@pytest.mark.slow
def test_rates_of_any_kind_share_one_set_of_sizes() -> None:
    with torch.no_grad():
        for length in (8_000, 24_000):  # half a second at 16 and 48 kHz
            scores = [features[-1] for features in built()(noise(1, 1, length))]
            assert [score.shape[2] for score in scores[2:]] == [length // 16, length // 8]
