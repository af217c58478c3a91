"""Sounds and spectrograms on the page of a run: which of them, bit for bit, and each once."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp.errors import DataError
from snac_exp.report.charts.spectrogram import HEIGHT, picture, powers
from snac_exp.report.listening.clips import chosen_epochs, find_clips
from snac_exp.report.listening.grid import make_grid
from snac_exp.report.listening.media import embedded_sound, read_sound
from snac_exp.report.run.page import write_report
from tests.report.parsed import Page


def test_sounds_are_embedded_bit_for_bit(run_dir: Path) -> None:
    path = run_dir / "samples" / "epoch000" / "clip0_48k.wav"
    embedded = embedded_sound(read_sound(path))
    content = base64.b64decode(embedded.uri.partition(",")[2])
    assert len(content) == embedded.num_bytes
    samples, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    expected, expected_rate = soundfile.read(path, dtype="int16")
    assert rate == expected_rate
    assert np.array_equal(samples, expected)
    with pytest.raises(DataError, match="not readable as audio"):
        read_sound(run_dir / "config.yaml")


def test_a_tone_is_bright_at_its_frequency_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    times = np.arange(24_000) / 24_000
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 6000 * times), 24_000)
    sound = read_sound(path)
    power = powers(sound)
    pixels = picture(power, sound.rate, float(power.max()), 24_000)
    assert (pixels[: HEIGHT // 2, :, 3] == 0).all()  # no band above 12 kHz: transparent, not black
    assert (pixels[HEIGHT // 2 :, :, 3] == 255).all()
    brightness = pixels[:, :, :3].sum(axis=2).mean(axis=1)
    assert brightness.argmax() == pytest.approx(HEIGHT * 3 / 4, abs=2)
    assert np.sort(brightness)[-8] < 0.2 * brightness.max()


def test_clips_are_found_whatever_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "epoch007"
    folder.mkdir()
    for name in ("my_clip_reference_48k", "my_clip_24k", "my_clip_48k", "my_clip_pretrained_24k", "alone"):
        soundfile.write(folder / f"{name}.wav", np.zeros(10), 24_000)
    (folder / "my_clip.png").touch()
    (tmp_path / "epoch_x").mkdir()
    alone, clip = find_clips(tmp_path)
    assert (alone.name, alone.labels) == ("alone", ["sample"])
    assert clip.labels == ["reference_48k", "pretrained_24k", "48k", "24k"]
    assert list(clip.files) == [7]


@pytest.mark.slow
def test_long_runs_show_fewer_epochs(run_dir: Path) -> None:
    sizes = dict.fromkeys(range(11), 10)
    assert chosen_epochs(sizes, 110) == list(range(11))
    assert chosen_epochs(sizes, 35) == [0, 5, 10]
    assert chosen_epochs(sizes, 5) == [10]
    page = Page(write_report(run_dir, most_megabytes=0.11))
    assert "1 of 3 epochs are left out" in page.words()
    assert "epoch 1" not in {(tag.get("data-name") or "").rpartition(", ")[2] for tag in page.named("button")}


def test_what_training_does_not_change_is_there_once(run_dir: Path) -> None:
    samples = run_dir / "samples"
    for folder in samples.iterdir():
        (folder / "clip0_pretrained_24k.wav").write_bytes((samples / "epoch000" / "clip0_24k.wav").read_bytes())
    paths = [samples / f"epoch00{epoch}" for epoch in range(3)]
    rows = {label: [folder / f"clip0_{label}.wav" for folder in paths] for label in ("pretrained_24k", "24k")}
    grid = make_grid("clip0", ["0", "1", "2"], rows)
    assert [(row.label, len(row.cells), row.is_shared) for row in grid.rows] == [
        ("pretrained 24k", 1, True), ("24k", 3, False)
    ]  # fmt: skip


@pytest.mark.slow
def test_unreadable_sounds_leave_their_cell_empty(run_dir: Path) -> None:
    broken = run_dir / "samples" / "epoch001" / "clip0_48k.wav"
    broken.write_bytes(b"RIFF")
    page = Page(write_report(run_dir))
    assert f"{broken.resolve()} is not readable as audio" in page.words()
    assert len(page.named("audio")) == 13
    nothing = make_grid("clip", ["a"], {"48k": [broken]})
    assert (nothing.rows, len(nothing.problems)) == ([], 1)
