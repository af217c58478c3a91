"""Slices of audio files equal the same slices of the whole resampled file."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snac_exp.data.files import reading as audio
from snac_exp.data.files.reading import Slice, audio_info, read_mono, read_slices
from snac_exp.data.files.resampling import resampled_length
from snac_exp.errors import DataError
from snac_exp.system.torchaudio import functional as F_audio
from snac_exp.system.torchaudio import transforms

RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000]
TOLERANCE = 1e-6


@functools.cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="audio-test-"))


@functools.cache
def noise_file(rate: int, num: int, channels: int = 1, suffix: str = "wav", subtype: str = "FLOAT") -> Path:
    path = folder() / f"noise-{rate}-{num}-{channels}-{subtype}.{suffix}"
    samples = np.random.default_rng(rate + num).uniform(-0.9, 0.9, (num, channels)).astype(np.float32)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


@functools.cache
def whole(path: Path, rate: int) -> np.ndarray:
    samples, source_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = torch.from_numpy(samples.mean(axis=1))
    return transforms.Resample(source_rate, rate)(mono).numpy() if source_rate != rate else mono.numpy()


@functools.cache
def whole_of_ours(path: Path, rate: int) -> np.ndarray:
    return read_mono(path, rate)


@pytest.mark.parametrize("source_rate", RATES)
@pytest.mark.parametrize("rate", [24000, 48000])
@settings(max_examples=12)
@given(data=st.data())
def test_a_slice_equals_the_slice_of_the_whole(source_rate: int, rate: int, data: st.DataObject) -> None:
    path = noise_file(source_rate, source_rate // 4 + 3)
    reference = whole(path, rate)
    start = data.draw(st.integers(0, len(reference) - 1))
    num = data.draw(st.integers(1, len(reference) - start))
    result = read_mono(path, rate, start, num)
    assert result.dtype == np.float32
    assert result.shape == (num,)
    np.testing.assert_allclose(result, reference[start : start + num], atol=TOLERANCE, rtol=0)
    assert np.array_equal(result, whole_of_ours(path, rate)[start : start + num])  # to the last bit


@given(data=st.data())
@settings(max_examples=40)
def test_slices_at_several_rates_out_of_one_read_are_those_read_one_by_one(data: st.DataObject) -> None:
    path = noise_file(48000, 4803)
    draw = st.builds(Slice, st.sampled_from([24000, 48000, 44100]), st.integers(0, 5500), st.integers(0, 3000))
    slices = data.draw(st.lists(draw, min_size=1, max_size=3))
    for slice_, samples in zip(slices, read_slices(path, slices), strict=True):
        assert np.array_equal(samples, read_mono(path, slice_.rate, slice_.start, slice_.num))


@given(num=st.integers(0, 3000), source_rate=st.sampled_from(RATES), rate=st.sampled_from([16000, 24000, 44100, 48000]))
@settings(max_examples=60)
def test_length_is_torchaudios(num: int, source_rate: int, rate: int) -> None:
    if num:
        assert (
            resampled_length(num, source_rate, rate) == F_audio.resample(torch.zeros(num), source_rate, rate).shape[-1]
        )
    else:
        assert resampled_length(0, source_rate, rate) == 0


def test_every_last_sample_of_a_whole_file_is_read() -> None:
    for source_rate in RATES:
        path = noise_file(source_rate, 1501)
        result = read_mono(path, 24000)
        assert len(result) == resampled_length(1501, source_rate, 24000)
        np.testing.assert_allclose(result, whole(path, 24000), atol=TOLERANCE, rtol=0)


def test_only_the_slice_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    path = noise_file(48000, 480_000)
    decoded: list[int] = []
    original = soundfile.SoundFile.read

    def read(self: soundfile.SoundFile, frames: int = -1, **options: object) -> np.ndarray:
        decoded.append(frames)
        return original(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    read_mono(path, 24000, start=100_000, num_samples=2400)
    assert len(decoded) == 1
    assert 4800 <= decoded[0] < 4800 + 100


def test_beyond_the_end_is_zero() -> None:
    path = noise_file(44100, 4410)
    reference = whole(path, 24000)
    result = read_mono(path, 24000, start=2000, num_samples=1000)
    assert len(reference) == 2400
    np.testing.assert_allclose(result[:400], reference[2000:], atol=TOLERANCE, rtol=0)
    assert not result[400:].any()
    assert not read_mono(path, 24000, start=9999, num_samples=7).any()
    assert read_mono(path, 24000, start=9999).shape == (0,)
    with pytest.raises(ValueError, match="negative"):
        read_mono(path, 24000, start=-1)


def test_mono_is_the_mean_of_the_channels() -> None:
    path = noise_file(48000, 4800, channels=6)
    samples, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_allclose(read_mono(path, 48000, 100, 50), samples[100:150].mean(axis=1), atol=1e-7)
    assert audio_info(path) == audio.AudioInfo(rate=48000, num_samples=4800, num_channels=6)
    assert audio_info(path).seconds == 0.1


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate"),
    [("mp3", "MPEG_LAYER_III", 24000), ("ogg", "VORBIS", 44100), ("ogg", "OPUS", 48000), ("flac", "PCM_24", 44100)],
)
def test_compressed_files_are_sliced_exactly(suffix: str, subtype: str, rate: int) -> None:
    path = noise_file(rate, rate, suffix=suffix, subtype=subtype)
    reference = whole(path, 48000)
    for start in range(0, 40_000, 4999):
        result = read_mono(path, 48000, start, 3000)
        np.testing.assert_allclose(result, reference[start : start + 3000], atol=TOLERANCE, rtol=0)


def test_long_files_keep_their_last_samples() -> None:
    """torchaudio counts the result in float32: whole files beyond 2**24 / step samples may lose their last sample."""
    num = 147 * 9000 + 1
    path = noise_file(44100, num)
    assert len(read_mono(path, 24000)) == 80 * 9000 + 1
    assert read_mono(path, 24000, start=80 * 9000)[0] != 0


def test_files_that_are_no_audio_name_file_and_mend(tmp_path: Path) -> None:
    for name, content in [("empty.wav", b""), ("text.wav", b"hello" * 99), ("random.flac", bytes(range(256)) * 9)]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: not readable as audio .* replace it"):
            read_mono(tmp_path / name, 24000)
    with pytest.raises(DataError, match=r"absent\.wav: no such file"):
        audio_info(tmp_path / "absent.wav")


def test_non_finite_samples_are_refused_where_they_stand(tmp_path: Path) -> None:
    samples = np.zeros(48000, dtype=np.float32)
    samples[30_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 48000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"nan\.wav: holds NaN"):
        read_mono(tmp_path / "nan.wav", 24000, 14_000, 2000)
    assert not read_mono(tmp_path / "nan.wav", 24000, 0, 10_000).any()


def test_a_truncated_flac_is_refused(tmp_path: Path) -> None:
    path = noise_file(48000, 96000, suffix="flac", subtype="PCM_16")
    content = path.read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.flac: (cannot be decoded|ends after)"):
        read_mono(tmp_path / "cut.flac", 48000)


def test_the_header_can_be_refused_before_decoding() -> None:
    def check(info: audio.AudioInfo) -> None:
        raise DataError(f"seen {info.rate}")

    with pytest.raises(DataError, match="seen 8000"):
        read_mono(noise_file(8000, 100), 24000, check=check)


def test_a_rate_without_a_small_ratio_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "prime.wav", np.zeros(1000), 47_999)
    with pytest.raises(DataError, match="47999 Hz has no small ratio to 24000 Hz"):
        read_mono(tmp_path / "prime.wav", 24000)
