"""Samples that cannot be audio: told with the value, the place and the likely cause, by limits that a user may set."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.files.levels import Levels, Limits
from snac_exp.data.prepared.manifest import REJECTED_NAME, Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.rejection import read_rejections
from snac_exp.errors import ConfigError

RATE = 24_000


def noise(channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (RATE // 2, channels))


def with_one(value: float) -> np.ndarray:
    samples = noise()
    samples[1234] = value
    return samples


ODD = {
    "a spike": (with_one(17.0), "sample 1234 is 17, full scale is 1: damage, since only 1 samples lie far over it"),
    "a huge spike": (with_one(1e29), "sample 1234 is 1e+29, full scale is 1: damage, since only 1 samples lie far"),
    "16 bit": (noise() * 2**15, "16-bit scale, divide them by 32768"),
    "24 bit": (noise() * 2**23, "24-bit scale, divide them by 8388608"),
    "32 bit": (noise() * 2**31, "32-bit scale, divide them by 2147483648"),
    "other numbers": (noise() * 1e20, "no audio, or written with another type of number"),
    "antiphase": (noise() * [1.0, -1.0] + 1e-3 * noise(2), "the channels cancel out: their sum has -"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    for number, (name, (samples, _)) in enumerate(ODD.items()):
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="FLOAT")
        soundfile.write(folder / f"fine {number}.wav", with_one(15.0) * (1 + number / 100), RATE, subtype="FLOAT")
    return folder


def test_each_is_rejected_with_value_place_and_cause(folder: Path, tmp_path: Path) -> None:
    summary = prepare(folder, tmp_path, split="file", num_workers=1)
    reasons = {item.path: item.reason for item in read_rejections(tmp_path / REJECTED_NAME)}
    assert set(reasons) == {f"{name}.wav" for name in ODD}
    for name, (_, reason) in ODD.items():
        assert reason in reasons[f"{name}.wav"]
    assert summary.rejected == {"antiphase": 1, "out_of_scale": 6}


def test_limits_are_the_users(folder: Path, tmp_path: Path, codec: LoadedCodec) -> None:
    """What prepare takes by wider limits, the verbs behind it take too; narrower ones take less."""
    wide = prepare(folder, tmp_path / "wide", split="file", num_workers=1, max_peak=20_000, min_mix=0)
    assert wide.rejected == {"out_of_scale": 4}
    manifest = Manifest.read(tmp_path / "wide")
    assert manifest.limits == Limits(20_000, 0)
    assert cache_codes(manifest, codec, tmp_path / "codes").num_rejected == 0
    narrow = prepare(folder, tmp_path / "narrow", split="file", num_workers=1, max_peak=15.2)
    assert narrow.num_rows == {"train": 1, "validation": 1}
    for wrong in ({"max_peak": 0.5}, {"max_peak": float("nan")}, {"min_mix": 1.0}, {"min_mix": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            prepare(folder, tmp_path / "none", **wrong)  # type: ignore[arg-type]


def test_other_limits_judge_what_was_measured_before(folder: Path, tmp_path: Path) -> None:
    """Levels are remembered, not verdicts: nothing is read again."""
    prepare(folder, tmp_path, split="file", num_workers=1)
    (tmp_path / "manifest.parquet").unlink()
    again = prepare(folder, tmp_path, split="file", num_workers=1, max_peak=20_000)
    assert (again.num_known, again.rejected) == (14, {"antiphase": 1, "out_of_scale": 4})


def test_samples_far_over_are_counted_in_all_blocks() -> None:
    blocks = [Levels.of(np.full((6, 1), value, np.float32), 6 * n) for n, value in enumerate((5.0, 0.5, 1e6))]
    levels = blocks[0].joined(blocks[1]).joined(blocks[2])
    assert (levels.num_over, levels.peak_at, levels.channel_peak) == (12, 12, 1e6)
