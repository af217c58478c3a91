"""Lag of decoded codes behind their target: found where it is, refused beyond 20 ms."""

import pytest
import torch
from torch import Tensor

from snac_exp.errors import PreflightError
from snac_exp.training.codec.preflight.sound import Lag, band_envelopes, check_lag, lag


def syllables(rows: int, rate: int, seconds: float, seed: int) -> Tensor:
    """Noise (rows, N) whose level changes every 80 ms, like syllables."""
    generator = torch.Generator().manual_seed(seed)
    samples = int(seconds * rate)
    levels = torch.rand(rows, int(seconds / 0.08) + 2, generator=generator).square()
    shape = torch.nn.functional.interpolate(levels[:, None], size=samples, mode="linear")[:, 0]
    return shape * torch.randn(rows, samples, generator=generator) * 0.1


@pytest.mark.parametrize("shift_ms", [-250, -90, -30, 0, 10, 20, 43, 85, 300])
def test_a_shift_is_measured_to_one_frame(shift_ms: int) -> None:
    target = syllables(24, 24_000, 3.0, seed=1)
    shift = shift_ms * 24
    decoded = torch.roll(target, shift, dims=1)[:, 9600:-9600]
    measured = lag(decoded, 24_000, target[:, 9600:-9600], 24_000)
    assert measured.seconds == pytest.approx(shift_ms / 1000, abs=0.0101)
    assert measured.correlation > 0.5


def test_rates_may_differ_and_waveforms_need_not_agree() -> None:
    wide = syllables(24, 48_000, 2.0, seed=2)
    other_waveform = wide[:, ::2] * torch.sign(torch.randn(1, 48_000))  # same envelope, other samples
    measured = lag(other_waveform, 24_000, wide, 48_000)
    assert abs(measured.seconds) <= 0.010
    assert check_lag(measured, "head_48k").startswith("head_48k: lag +0 ms") or abs(measured.seconds) > 0


def test_unrelated_audio_and_large_lags_are_refused() -> None:
    measured = lag(syllables(24, 24_000, 2.0, seed=3), 24_000, syllables(24, 24_000, 2.0, seed=4), 24_000)
    with pytest.raises(PreflightError, match="do not belong together"):
        check_lag(measured, "head_24k at the start")
    with pytest.raises(PreflightError, match=r"\+30 ms from the audio"):
        check_lag(Lag(0.030, 0.8), "head_24k at the end")
    assert check_lag(Lag(-0.020, 0.8), "head_24k") == "head_24k: lag -20 ms, correlation 0.80"


def test_band_envelopes_have_a_frame_every_10_ms_and_survive_silence() -> None:
    envelopes = band_envelopes(torch.zeros(2, 24_000), 24_000)
    assert envelopes.shape == (2, 4, 101)
    assert torch.equal(envelopes, torch.zeros_like(envelopes))
