from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread

from snac_exp.tracking.panels import Signals, spectrogram_panel, write_clips


def sine(hz: float, rate: int, peak: float = 0.5) -> torch.Tensor:
    time = torch.arange(rate, dtype=torch.float64) / rate
    return (peak * torch.sin(2 * torch.pi * hz * time)).float()


@pytest.fixture
def signals() -> Signals:
    wide = sine(1000, 48_000) + sine(18_000, 48_000)
    return {
        "reference_48k": (wide, 48_000),
        "48k": (sine(1000, 48_000, 0.005), 48_000),
        "24k": (sine(1000, 24_000), 24_000),
    }


@pytest.mark.slow
def test_clips_are_named_by_label_and_keep_their_samples(tmp_path: Path, signals: Signals) -> None:
    clipped = write_clips(tmp_path / "epoch003", "clip0", signals)
    names = {path.name for path in (tmp_path / "epoch003").iterdir()}
    assert names == {"clip0_reference_48k.wav", "clip0_48k.wav", "clip0_24k.wav", "clip0.png"}
    assert clipped == {"reference_48k": 0, "48k": 0, "24k": 0}
    for label, (waveform, rate) in signals.items():
        samples, found_rate = soundfile.read(tmp_path / "epoch003" / f"clip0_{label}.wav", dtype="float32")
        assert found_rate == rate
        assert soundfile.info(tmp_path / "epoch003" / f"clip0_{label}.wav").subtype == "PCM_16"
        np.testing.assert_allclose(samples, waveform.numpy(), atol=1 / 32768)


@pytest.mark.slow
def test_samples_beyond_full_scale_are_clipped_and_counted(tmp_path: Path) -> None:
    waveform = torch.tensor([0.0, 1.5, -2.0, 1.0, 0.5] * 1000)
    assert write_clips(tmp_path, "clip0", {"reference_48k": (waveform, 48_000)}) == {"reference_48k": 2000}
    samples, _ = soundfile.read(tmp_path / "clip0_reference_48k.wav", dtype="float32")
    np.testing.assert_allclose(samples[:5], [0.0, 1.0, -1.0, 1.0, 0.5], atol=1 / 32767)


@pytest.mark.slow
def test_the_panel_is_1000_pixels_wide_and_shows_what_is_there(tmp_path: Path, signals: Signals) -> None:
    spectrogram_panel(tmp_path / "clip.png", signals, "title")
    picture = imread(tmp_path / "clip.png")[:, :, :3]
    assert picture.shape == (720, 1000, 3)
    brightness = picture.sum(axis=2)
    reference, wide, narrow = (brightness[start : start + 188, 100:500] for start in (45, 265, 485))
    at_18_khz, at_20_khz = slice(42, 52), slice(25, 36)  # 188 rows are 24 kHz
    assert reference[at_18_khz].max(axis=0).min() > 1.0  # the sine is a bright line all along
    assert wide[at_18_khz].max() < 0.2  # black: silence on the reference's scale
    assert narrow[at_18_khz].mean() == pytest.approx(3 * 0.45, abs=0.02)  # grey: no data
    assert reference[at_20_khz].max() < 0.2
    at_1_khz = slice(175, 186)
    bright, dim = reference[at_1_khz].max(), wide[at_1_khz].max()
    assert 0.2 < dim < 0.7 * bright  # 40 dB less is darker: one scale for all
    assert narrow[at_1_khz].max() == pytest.approx(bright, abs=0.4)
    voices = [brightness[start : start + 188, 600:880] for start in (45, 265, 485)]
    half_way = slice(89, 99)  # of 2 kHz
    assert [voice.max(axis=1).argmax() in range(89, 99) for voice in voices] == [True] * 3
    assert voices[2][half_way].max() == pytest.approx(voices[0][half_way].max(), abs=0.4)
    assert voices[0][10:50].max() < 0.2  # the one sine, and 80 dB below it nothing


def test_a_silent_reference_makes_a_picture_too(tmp_path: Path) -> None:
    spectrogram_panel(tmp_path / "clip.png", {"reference_24k": (torch.zeros(2400), 24_000)}, "silence")
    assert imread(tmp_path / "clip.png").shape[:2] == (300, 1000)
