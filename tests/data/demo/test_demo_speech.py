"""The synthesiser: deterministic, of exact length, and with a high band that a mean spectrum cannot stand in for."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from snac_exp.data.demo.speech import SAMPLE_RATE, Voice, synthesize_utterance, voices, write_demo_speech

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def cast() -> list[Voice]:
    return voices(6, 2, 0)


@pytest.fixture(scope="module")
def spoken(cast: list[Voice]) -> dict[str, list[Floats]]:
    """Four seconds of every voice, training and validation apart."""
    audio = [synthesize_utterance(voice, 5, 4.0).astype(np.float64) for voice in cast]
    return {"train": audio[:6], "validation": audio[6:]}


def _power(audio: Floats) -> Floats:
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, 1024), 2048)[::512]
    return np.asarray(np.abs(np.fft.rfft(frames * np.hanning(2049)[:-1], axis=-1)) ** 2)


def _high_bands(power: Floats) -> Floats:
    """Mean power in 32 equal bands from 12 to 24 kHz, (frames, 32)."""
    return np.asarray(power[:, 512:1024].reshape(len(power), 32, 16).mean(-1))


def _lsd_high_db(reference: Floats, estimate: Floats) -> float:
    power = _power(reference)
    floor = power.max() * 1e-8
    ours, theirs = _high_bands(power), _high_bands(_power(estimate))
    difference = 10 * np.log10(np.maximum(ours, floor) / np.maximum(theirs, floor))
    return float(np.sqrt((difference**2).mean(1))[(ours > floor).any(1)].mean())


def _low_passed(audio: Floats) -> Floats:
    spectrum = np.fft.rfft(audio)
    spectrum[np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE) >= 12_000] = 0
    return np.fft.irfft(spectrum, len(audio))


def _high_noise(bands: Floats, num_samples: int) -> Floats:
    """Noise above 12 kHz with the mean power `bands` (32,)."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(num_samples))
    frequencies = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE)
    gain = np.interp(frequencies, 12_000 + 375 * (np.arange(32) + 0.5), np.sqrt(bands))
    spectrum *= np.where(frequencies < 12_000, 0, gain) / np.sqrt((np.hanning(2048) ** 2).sum())
    return np.fft.irfft(spectrum, num_samples)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.4, 0.77, 2.0, 6.3])
def test_utterance_has_the_exact_length_and_peak(cast: list[Voice], seconds: float) -> None:
    audio = synthesize_utterance(cast[1], 3, seconds)
    assert audio.dtype == np.float32
    assert audio.shape == (round(seconds * 48_000),)
    assert 0.39 < np.abs(audio).max() <= 0.9


def test_same_seed_gives_the_same_samples_and_another_seed_others(cast: list[Voice]) -> None:
    first = synthesize_utterance(cast[0], 7, 1.0)
    np.testing.assert_array_equal(first, synthesize_utterance(cast[0], 7, 1.0))
    assert np.abs(first - synthesize_utterance(cast[0], 8, 1.0)).max() > 0.1
    assert np.abs(first - synthesize_utterance(cast[2], 7, 1.0)).max() > 0.1


def test_too_short_is_an_error_that_says_so(cast: list[Voice]) -> None:
    with pytest.raises(ValueError, match=r"needs at least 0\.2 s"):
        synthesize_utterance(cast[0], 0, 0.1)


def test_validation_voices_share_no_parameters_with_training(cast: list[Voice]) -> None:
    assert [voice.name for voice in cast] == [*(f"voice0{i}" for i in range(6)), "val_voice00", "val_voice01"]
    for field in ("f0_hz", "formant_scale", "tilt_hz", "sibilance_scale"):
        assert len({getattr(voice, field) for voice in cast}) == len(cast)
    assert voices(9, 1, 0)[:6] == cast[:6]


@pytest.mark.slow
def test_pitch_is_the_voice_s(cast: list[Voice]) -> None:
    """The strongest autocorrelation lag of voiced frames lies within the melody around f0."""
    for voice in cast[:2]:
        audio = synthesize_utterance(voice, 11, 4.0).astype(np.float64)
        frames = np.lib.stride_tricks.sliding_window_view(audio, 2400)[::2400] * np.hanning(2400)
        loud = frames[(frames**2).sum(1) > np.median((frames**2).sum(1))]
        correlation = np.fft.irfft(np.abs(np.fft.rfft(loud, 8192, axis=-1)) ** 2, axis=-1)[:, 130:700]
        f0_hz = 48_000 / (130 + correlation.argmax(1))
        assert abs(12 * np.log2(np.median(f0_hz) / voice.f0_hz)) < 4.0


@pytest.mark.slow
def test_high_band_is_loud_and_swings(spoken: dict[str, list[Floats]]) -> None:
    for audio in spoken["train"]:
        power = _power(audio)
        level_db = 10 * np.log10(_high_bands(power).mean(1) / power.max() + 1e-12)
        loud, quiet = np.percentile(level_db, [95, 30])
        assert loud > -60
        assert loud - quiet > 15
        top_db = 10 * np.log10(power[:, 811:853].mean(1) / power.max() + 1e-12)  # 19 to 20 kHz
        assert np.percentile(top_db, 97) > -70


def test_neither_silence_nor_the_mean_spectrum_passes_for_the_high_band(spoken: dict[str, list[Floats]]) -> None:
    mean_bands = np.concatenate([_high_bands(_power(audio)) for audio in spoken["train"]]).mean(0)
    interpolation, noise = [], []
    for audio in spoken["validation"]:
        low = _low_passed(audio)
        interpolation.append(_lsd_high_db(audio, low))
        noise.append(_lsd_high_db(audio, low + _high_noise(mean_bands, len(audio))))
        assert _lsd_high_db(audio, audio) == 0.0
    assert np.mean(interpolation) > 8.0
    assert np.mean(noise) > 6.0


@pytest.mark.slow
def test_written_folder_is_by_speaker_and_repeatable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_demo_speech(tmp_path / name, 0.8, seed=1, num_train_voices=2, num_validation_voices=1)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.flac"))
    assert {path.parts[0] for path in files} == {"voice00", "voice01", "val_voice00"}
    assert files == sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*.flac"))
    total = 0.0
    for path in files:
        info = soundfile.info(tmp_path / "a" / path)
        assert (info.samplerate, info.channels, info.subtype) == (48_000, 1, "PCM_16")
        total += info.duration
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert 48.0 <= total <= 48.0 + 3 * 8.0
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_some_utterances_are_short(tmp_path: Path) -> None:
    write_demo_speech(tmp_path, 0.5, seed=2, num_train_voices=1, num_validation_voices=0)
    seconds = [soundfile.info(path).duration for path in sorted(tmp_path.rglob("*.flac"))]
    assert 0.4 <= seconds[3] <= 0.9
    assert all(2.0 <= value <= 8.0 for index, value in enumerate(seconds) if index % 8 != 3)
