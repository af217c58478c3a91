"""Targets: what counts as wide-band, exact lengths, restarts, and nothing dropped."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from snac_exp import cli
from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.files.bandwidth import measure_bandwidth
from snac_exp.data.files.reading import read_mono
from snac_exp.data.files.resampling import resample
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.targets.wideband import WideBand, check_native, resample_targets
from snac_exp.errors import DataError

RATE = 48000


def modulated_noise(seconds: float, cutoff_hz: float, seed: int = 0) -> np.ndarray:
    """Noise up to a cutoff whose level moves by 40 dB, at 48 kHz."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(round(seconds * RATE)))
    spectrum[np.fft.rfftfreq(round(seconds * RATE), 1 / RATE) > cutoff_hz] = 0
    signal = np.fft.irfft(spectrum, round(seconds * RATE))
    return 0.1 * signal * 10 ** (np.sin(np.arange(len(signal)) / RATE * 9) - 1)


@pytest.mark.parametrize("cutoff_hz", [8000.0, 15750.0, 21000.0])
def test_the_cutoff_is_found_to_one_band(tmp_path: Path, cutoff_hz: float) -> None:
    soundfile.write(tmp_path / "a.wav", modulated_noise(1.5, cutoff_hz), RATE, subtype="PCM_24")
    found = measure_bandwidth(tmp_path / "a.wav")
    assert abs(found.cutoff_hz - cutoff_hz) <= 500
    assert found.hf_energy_ratio == pytest.approx(max(cutoff_hz - 12000, 0) / cutoff_hz, abs=0.02)


def test_short_files_long_files_and_low_rates_are_measured(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", modulated_noise(0.02, 20000), RATE)
    assert measure_bandwidth(tmp_path / "short.wav").cutoff_hz >= 20000
    long = np.tile(modulated_noise(2.0, 18000), 15)  # more than one block
    soundfile.write(tmp_path / "long.wav", long, RATE, subtype="FLOAT")
    assert measure_bandwidth(tmp_path / "long.wav").cutoff_hz == 18500
    soundfile.write(tmp_path / "low.wav", resample(long.astype(np.float32)[:RATE], RATE, 16000), 16000)
    low = measure_bandwidth(tmp_path / "low.wav")
    assert (low.rate, low.hf_energy_ratio) == (16000, 0.0)
    assert WideBand().failure(low) == ("rate", "16000 Hz, less than 48000")


def test_hiss_above_an_old_band_is_no_wide_band(tmp_path: Path) -> None:
    narrow = modulated_noise(2.0, 8000)
    hiss = 0.002 * np.random.default_rng(1).standard_normal(len(narrow))
    soundfile.write(tmp_path / "a.wav", narrow + hiss, RATE)
    found = measure_bandwidth(tmp_path / "a.wav")
    assert found.cutoff_hz == 24500  # the last bin has a band of its own
    assert found.hf_dynamics_db < 3
    assert WideBand().failure(found)[0] == "steady"


@pytest.mark.slow
def test_real_speech_is_wide_band_and_a_band_limited_file_is_reported(shared_data: Path, tmp_path: Path) -> None:
    with open(shared_data / "speech48k" / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))[::16]
    for row in rows:
        found = measure_bandwidth(shared_data / "speech48k" / row["path"])
        assert WideBand().failure(found) is None, row["path"]
        assert found.hf_energy_ratio == pytest.approx(float(row["hf_energy_ratio"]), rel=0.2)
        if row["tier"] != "A":
            assert WideBand(min_cutoff_hz=22000).failure(found)[0] == "cutoff"
    for name in ("bandlimited_8k_in_48k.wav", "float32_48k.wav", "sr_24000.wav"):
        (tmp_path / "audio").mkdir(exist_ok=True)
        shutil.copy(shared_data / "odd" / name, tmp_path / "audio" / name)
    prepare(tmp_path / "audio", tmp_path / "prepared", split="file", train_ratio=0.5)
    counts = check_native(Manifest.read(tmp_path / "prepared"), tmp_path / "report", WideBand())
    assert counts == {"wide_band": 1, "cutoff": 1, "rate": 1}
    listed = pq.read_table(tmp_path / "report" / "not_wide_band.parquet").to_pylist()
    assert [(row["path"], row["kind"], row["cutoff_hz"]) for row in listed[:1]] == [
        ("bandlimited_8k_in_48k.wav", "cutoff", 8000.0)
    ]
    assert len(pq.read_table(tmp_path / "report" / "bandwidth.parquet")) == 3


@pytest.mark.slow
def test_resampled_targets_have_exact_lengths_and_are_kept_on_the_next_run(
    manifest: Manifest, cache_dir: Path, codec: LoadedCodec, tmp_path: Path
) -> None:
    half = Manifest(manifest.input_dir, manifest.settings, manifest.rows)
    first = resample_targets(half, tmp_path, rate=96000, shard=(0, 2))
    assert (first.num_made, first.num_kept) == (10, 0)
    again = resample_targets(half, tmp_path, rate=96000)
    assert (again.num_made, again.num_kept, again.num_rejected) == (10, 10, 0)
    for row in manifest.rows:
        target = (tmp_path / row.path).with_suffix(".flac")
        samples, rate = soundfile.read(target, dtype="float32")
        assert (rate, len(samples)) == (96000, 2 * row.num_samples)
        np.testing.assert_allclose(samples, read_mono(manifest.recording(row).path, 96000), atol=2**-23)
    source = CachedCodes(str(cache_dir), target_dir=str(tmp_path), validation_seconds=0.5)
    corpus = source.open(codec, {"head_96k": 96000}, seed=0)
    assert corpus.train[corpus.validation_specs[0]].audio["head_96k"].any()
    cut = (tmp_path / manifest.rows[0].path).with_suffix(".flac")
    soundfile.write(cut, np.zeros(100), 96000)
    assert resample_targets(half, tmp_path, rate=96000).num_made == 1  # not what it should be: made again
    with pytest.raises(DataError, match=r"other targets lie there \(rate was 96000\); choose another output folder"):
        resample_targets(half, tmp_path, rate=48000)


def test_s08_targets_that_cannot_be_made_are_listed_and_stay_listed(
    manifest: Manifest, corpus_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus_dir / "audio", tmp_path / "audio")
    moved = replace(manifest, input_dir=tmp_path / "audio")
    moved.recording(manifest.rows[4]).path.write_bytes(b"not audio")
    for _ in range(2):
        summary = resample_targets(moved, tmp_path / "targets", shard=(0, 2))
        assert summary.rejected == {"unreadable": 1}
    listed = pq.read_table(tmp_path / "targets" / "rejected_targets-00-of-02.parquet").to_pylist()
    assert [(row["path"], row["kind"]) for row in listed] == [(manifest.rows[4].path, "unreadable")]
    assert "not readable as audio" in listed[0]["reason"]
    shutil.copy(corpus_dir / "audio" / manifest.rows[4].path, moved.recording(manifest.rows[4]).path)
    assert resample_targets(moved, tmp_path / "targets", retry_rejected=True).num_rejected == 0


def test_two_rows_with_one_target_file_are_refused_and_clipping_is_counted(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "a.wav", 1.2 * np.ones(48000), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "audio" / "b.wav", 0.5 * np.ones(48000), RATE)
    prepare(tmp_path / "audio", tmp_path / "prepared", split="file", train_ratio=0.5)
    made = Manifest.read(tmp_path / "prepared")
    assert resample_targets(made, tmp_path / "flac").num_clipped == 1
    assert resample_targets(made, tmp_path / "wav", file_format="wav").num_clipped == 0
    assert soundfile.read(tmp_path / "wav" / "a.wav")[0].max() == pytest.approx(1.2)
    shared = manifest.with_rows([*manifest.rows, replace(manifest.rows[0], path="speaker0/utt0.mp3")])
    with pytest.raises(DataError, match=r"speaker0/utt0\.wav and speaker0/utt0\.mp3 would share one target file"):
        resample_targets(shared, tmp_path / "targets")


@pytest.mark.slow
def test_the_verb_checks_and_makes_targets(
    corpus_dir: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = f"data={corpus_dir / 'prepared'}"
    assert cli.run(["targets", data, "kind=native", f"output={tmp_path / 'report, 1'}"]) == 0
    listed = len(pq.read_table(tmp_path / "report, 1" / "not_wide_band.parquet"))
    assert f"{20 - listed} of 20 files are wide-band" in capsys.readouterr().out
    assert 20 - listed > 0
    assert cli.run(["targets", data, "kind=resample", "rate=32000", f"output={tmp_path / 'targets'}"]) == 0
    said = capsys.readouterr().out
    assert "20 targets made, 0 there already" in said
    assert "learns no higher band" in said


def test_what_a_killed_check_left_goes_with_the_next_one(corpus_dir: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(corpus_dir / "prepared")
    left = tmp_path / ".not_wide_band.parquet.abcdefgh.tmp"
    left.write_bytes(b"half")
    check_native(manifest.with_rows(manifest.rows[:1]), tmp_path, WideBand(), num_workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bandwidth.parquet", "not_wide_band.parquet"]
