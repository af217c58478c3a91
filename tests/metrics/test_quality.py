"""Metrics of listeners, speakers and pitch: values of upstream's own code, and which way each moves."""

import importlib.util
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from snac_exp.data.demo.speech import synthesize_utterance, voices
from snac_exp.metrics.quality.dnsmos import dnsmos
from snac_exp.metrics.quality.pitch import f0_rmse_cents, log_f0_correlation, voicing_error
from snac_exp.metrics.quality.plcmos import plcmos
from snac_exp.metrics.quality.speaker import speaker_similarity
from snac_exp.metrics.quality.words import character_error_rate, normalised, word_error_rate
from snac_exp.metrics.table import GROUPS, METRICS, missing_metrics, present_metrics
from snac_exp.system.torchaudio import functional as F_audio

needs = {
    module: pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason="needs the extra [quality]: pip install -e '.[quality]'"
    )
    for module in ("speechmos", "resemblyzer", "parselmouth")
}


@cache
def clip(voice: int = 0, seconds: float = 3.0) -> Tensor:
    """Synthetic speech at 16 kHz, (N,)."""
    audio = torch.from_numpy(synthesize_utterance(voices(2, 0, 0)[voice], 0, seconds))
    resampled: Tensor = F_audio.resample(audio, 48_000, 16_000, lowpass_filter_width=64)
    return resampled


def noisy(signal: Tensor) -> Tensor:
    return signal + 0.05 * torch.randn(signal.shape, generator=torch.Generator().manual_seed(0))


def dull(signal: Tensor) -> Tensor:
    """Without what lies above 1 kHz."""
    narrow = F_audio.resample(signal, 16_000, 2_000, lowpass_filter_width=64)
    wide: Tensor = F_audio.resample(narrow, 2_000, 16_000, lowpass_filter_width=64)
    return wide[: len(signal)]


@needs["speechmos"]
@pytest.mark.slow
def test_opinion_scores_are_upstreams_and_fall_under_noise_and_low_pass() -> None:
    """Of this clip `speechmos.dnsmos.run` of 0.0.1.1 with librosa 0.11 gave the same."""
    speech = clip()
    found = {part: dnsmos(speech, speech, 16_000, part=part) for part in ("overall", "signal", "background", "p808")}
    upstream = {"overall": 2.878752, "signal": 3.273840, "background": 3.715323, "p808": 2.745966}
    assert found == pytest.approx(upstream, abs=0.02)
    worse = {part: dnsmos(speech, noisy(speech), 16_000, part=part) for part in found}
    assert worse["background"] < found["background"] - 0.5  # type: ignore[operator]
    assert worse["overall"] < found["overall"] - 0.2  # type: ignore[operator]
    duller = {part: dnsmos(speech, dull(speech), 16_000, part=part) for part in ("signal", "p808")}
    assert all(value < found[part] - 0.1 for part, value in duller.items())  # type: ignore[operator]


@needs["speechmos"]
@pytest.mark.slow
def test_gaps_lower_plcmos_and_its_listeners_are_the_same_ones() -> None:
    """Drawn anew, as upstream does, 2.736 came out of the same clip."""
    speech = clip()
    gaps = speech.reshape(-1, 800).clone()
    gaps[::4] = 0  # 50 ms of every 200
    whole = plcmos(speech, speech, 16_000)
    assert whole == pytest.approx(2.736, abs=0.03)
    assert whole == plcmos(speech, speech, 16_000)
    assert plcmos(speech, gaps.flatten(), 16_000) < whole - 0.2  # type: ignore[operator]


@needs["resemblyzer"]
@pytest.mark.slow
def test_another_speaker_is_less_similar_than_a_quieter_or_duller_one() -> None:
    speech, other = clip(), clip(1)
    assert speaker_similarity(speech, speech, 16_000) == pytest.approx(1, abs=1e-5)
    similar = [
        speaker_similarity(speech, it, 16_000) or 0 for it in (0.25 * speech, noisy(speech), other, dull(speech))
    ]
    assert similar[0] > 0.9  # quieter clips are raised to -30 dB only
    assert similar[2] < 0.9 * similar[0]
    assert similar[1] < 1
    assert similar[3] < 0.9 * similar[0]
    assert speaker_similarity(speech[:19_000], speech[:19_000], 16_000) is None


def harmonics(f0_hz: float, seconds: float = 1.0) -> Tensor:
    """A voice that glides by a tenth, (N,), with silence behind it."""
    time = torch.arange(round(seconds * 16_000), dtype=torch.float64) / 16_000
    phase = 2 * np.pi * f0_hz * (time + 0.05 * time**2)
    voiced = sum(torch.sin(number * phase) / number for number in range(1, 9))
    return torch.cat([0.1 * voiced, torch.zeros(8000, dtype=torch.float64)]).float()  # type: ignore[list-item, operator]


@needs["parselmouth"]
@pytest.mark.slow
def test_pitch_of_known_shifts() -> None:
    voice = harmonics(150.0)
    semitone = harmonics(150.0 * 2 ** (1 / 12))
    assert f0_rmse_cents(voice, voice, 16_000) == 0
    assert voicing_error(voice, voice, 16_000) == 0
    assert f0_rmse_cents(voice, semitone, 16_000) == pytest.approx(100, abs=1)
    assert log_f0_correlation(voice, semitone, 16_000) == pytest.approx(1, abs=1e-3)
    assert f0_rmse_cents(voice, 0.25 * voice, 16_000) == pytest.approx(0, abs=0.5)
    # A low-pass leaves the fundamental, and other words of another voice have another pitch.
    assert f0_rmse_cents(clip(), dull(clip()), 16_000) < 25  # type: ignore[operator]
    assert f0_rmse_cents(clip(), clip(1), 16_000) > 100  # type: ignore[operator]
    half = voice.clone()
    half[8000:16_000] = 0  # 0.5 of 1.5 s lose their voice
    assert voicing_error(voice, half, 16_000) == pytest.approx(1 / 3, abs=0.03)


@needs["parselmouth"]
def test_what_is_too_short_or_not_voiced_has_no_pitch() -> None:
    voice, silence = harmonics(150.0), torch.zeros(24_000)
    assert voicing_error(silence, voice, 16_000) is None
    assert f0_rmse_cents(voice, silence, 16_000) is None
    assert (voicing_error(voice, silence, 16_000) or 0) > 0.5
    assert f0_rmse_cents(voice[:500], voice[:500], 16_000) is None
    assert voicing_error(voice[:500], voice[:500], 16_000) is None


def test_error_rates_are_edits_per_word_or_letter_without_case_and_punctuation() -> None:
    assert normalised("Don't  STOP, well-known!") == "dont stop well known"
    assert word_error_rate("one two three four", "One, two four five six.") == pytest.approx(3 / 4)
    assert word_error_rate("one", "") == 1
    assert word_error_rate("one", "one two three") == 2
    assert character_error_rate("abcd", "abxd") == pytest.approx(1 / 4)
    assert word_error_rate("...", "one") is None


def test_they_are_measured_only_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GROUPS == ("dnsmos", "plcmos", "speaker", "f0")
    assert all(metric.group is None for metric in present_metrics())
    assert "wer" not in {metric.name for metric in present_metrics(GROUPS)}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert {name for name in missing_metrics(["f0"]) if name != "pesq_wb"} == {
        "f0_rmse_cents", "log_f0_correlation", "voicing_error"
    }  # fmt: skip
    assert "pip install 'snac_exp[quality]'" in missing_metrics(["dnsmos"])["dnsmos_p808"]
    assert [it.name for it in METRICS if it.reference_free and it.group != "words"] == [
        "dnsmos_overall", "dnsmos_signal", "dnsmos_background", "dnsmos_p808", "plcmos"
    ]  # fmt: skip
