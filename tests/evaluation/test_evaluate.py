"""The figures of `snac-exp evaluate`: right, complete, repeatable."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from snac_exp.codec.checkpoint import bundled_directory
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.errors import DataError
from snac_exp.evaluation.baselines import MeanSpectrumNoise, interpolated
from snac_exp.evaluation.bootstrap import bootstrap_interval
from snac_exp.evaluation.utterances import Selection, select, wide_band_audio
from snac_exp.metrics.table import chosen_metrics, measured
from snac_exp.release.loading import load_codec


def summary_of(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return value


@pytest.mark.slow
def test_every_file_has_its_outputs_and_its_figures(prepared: Path, checkpoint: Path, trained: Path) -> None:
    rows = pq.read_table(trained / "files.parquet").to_pylist()
    outputs: dict[str, list[str]] = {}
    for row in rows:
        outputs.setdefault(row["path"], []).append(row["output"])
    wide = ["24k", "48k", "baseline", "baseline_noise"]
    assert outputs == {
        "val_a/wide0.flac": wide,
        "val_a/wide1.flac": wide,
        "val_a/wide2.flac": wide,
        "val_b/rate24.flac": ["24k"],
        "val_b/upsampled.wav": wide,
    }
    selection = Selection(max_seconds=0.6)
    utterance = select(Manifest.read(prepared), selection)[0]
    reference = utterance.reference(48_000)
    assert reference is not None
    codec, seed = load_codec(checkpoint), utterance.seed(0)
    codes = codec.encode(utterance.source(24_000), 24_000)
    narrow, head = (codec.decode(codes, rate, seed=seed)[0, 0] for rate in (24_000, 48_000))
    noise = MeanSpectrumNoise.fitted(read() for read in wide_band_audio(Manifest.read(prepared), selection, 200))
    estimates = {
        "48k": head,
        "baseline": interpolated(narrow),
        "baseline_noise": noise.added_to(interpolated(narrow), reference, seed),
    }
    for name, estimate in estimates.items():
        (row,) = [it for it in rows if it["path"] == "val_a/wide0.flac" and it["output"] == name]
        expected = measured(reference, estimate[: reference.numel()], 48_000, native_high_band=True)
        assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-6)


def test_only_native_recordings_count_above_12_khz(trained: Path) -> None:
    rows = [row for row in pq.read_table(trained / "files.parquet").to_pylist() if row["output"] == "48k"]
    assert {row["path"]: (row["native_high_band"], row["narrow"]) for row in rows} == {
        "val_a/wide0.flac": (True, None),
        "val_a/wide1.flac": (True, None),
        "val_a/wide2.flac": (True, None),
        "val_b/upsampled.wav": (False, "cutoff"),
    }
    assert [row["lsd_high_db"] is None for row in rows] == [False, False, False, True]
    assert all(row["lsd_low_db"] is not None and row["stft_complex"] is not None for row in rows)
    summary = summary_of(trained)
    assert summary["outputs"]["48k"]["measures"]["lsd_high_db"]["num"] == 3
    assert summary["outputs"]["48k"]["measures"]["stft_complex"]["num"] == 4
    assert "lsd_high_db" not in summary["outputs"]["24k"]["measures"]
    assert summary["utterances"]["not_native"] == {"cutoff": 1, "rate": 1}
    assert any("above 12 kHz 3 of 5 recordings count" in note for note in summary["notes"])


@pytest.mark.slow
def test_the_summary_is_the_mean_of_the_rows_with_its_interval(trained: Path) -> None:
    rows, summary = pq.read_table(trained / "files.parquet").to_pylist(), summary_of(trained)
    for name, output in summary["outputs"].items():
        for measure, found in output["measures"].items():
            values = [row[measure] for row in rows if row["output"] == name and row[measure] is not None]
            low, high = bootstrap_interval(values, 0)
            assert found == pytest.approx({"mean": np.mean(values), "low95": low, "high95": high, "num": len(values)})
    against = summary["against"]["baseline_noise"]["lsd_high_db"]
    pairs = [
        {row["output"]: row["lsd_high_db"] for row in rows if row["path"] == f"val_a/wide{index}.flac"}
        for index in range(3)
    ]
    assert against["mean"] == pytest.approx(np.mean([pair["48k"] - pair["baseline_noise"] for pair in pairs]))
    assert summary["bits_per_second"] == pytest.approx(load_codec(bundled_directory("demo_codec")).bitrate)
    assert (trained / "summary.md").read_text().startswith("## model.pt: 5 validation utterances, 2 speakers")


def test_real_time_factors_stand_apart(trained: Path) -> None:
    speed = json.loads((trained / "speed.json").read_text())
    assert speed["audio_seconds"] == pytest.approx(5 * 0.6)
    for kind in ("encode", "decode"):
        assert speed[f"{kind}_seconds"] == pytest.approx(sum(file[kind] for file in speed["files"]))
        assert speed[f"{kind}_real_time_factor"] == speed[f"{kind}_seconds"] / speed["audio_seconds"] > 0
    assert not [
        name for name in pq.read_schema(trained / "files.parquet").names if "seconds" in name and name != "seconds"
    ]


@pytest.mark.slow
def test_s12_recipes_are_compared_on_both_stft_distances_whatever_they_trained_on(
    run: Any, trained: Path, tmp_path: Path, write_checkpoint_of: Any
) -> None:
    """Phase 10 trained on magnitudes, phase 12 on complex spectra: equal weights get equal figures, in both."""
    found = []
    for name, terms in {"phase10": {"stft_magnitude": 1.0}, "phase12": {"stft_complex": 1.0}}.items():
        config = {"name": name, "loss": {"terms": terms, "n_ffts": [512]}}
        checkpoint = write_checkpoint_of(tmp_path / f"{name}.pt", **config)
        found.append(run(tmp_path / f"evaluation_{name}", f"checkpoint={checkpoint}", "num_utterances=1"))
    whole = pq.read_table(trained / "files.parquet").to_pylist()
    assert found[0] == found[1] == [row for row in whole if row["path"] == found[0][0]["path"]]
    assert {row["rate"] for row in found[0]} == {24_000, 48_000}
    assert all(row["stft_magnitude"] > 0 and row["stft_complex"] > 0 for row in found[0])
    n_ffts = json.loads((trained / "job.json").read_text())["protocol"]["n_ffts"]
    assert n_ffts == {"24000": [1024, 2048, 4096], "48000": [1024, 2048, 4096, 8192]}


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(run: Any, checkpoint: Path, trained: Path, tmp_path: Path) -> None:
    run(tmp_path / "again", f"checkpoint={checkpoint}")
    for name in ("files.parquet", "summary.json", "summary.md"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes()
    first = pq.read_table(trained / "files.parquet").to_pylist()[:4]
    other = run(tmp_path / "seed", f"checkpoint={checkpoint}", "num_utterances=1", "seed=1")
    assert [row["path"] for row in first] == [row["path"] for row in other]
    assert all(before["l1"] != after["l1"] for before, after in zip(first, other, strict=True))


@pytest.mark.slow
def test_baselines_without_a_codec(run: Any, tmp_path: Path) -> None:
    plain = run(tmp_path / "interpolate", "system=interpolate")
    noisy = run(tmp_path / "noise", "system=noise")
    assert {row["output"] for row in plain + noisy} == {"48k"}
    assert [row["path"] for row in plain] == [row["path"] for row in noisy]
    assert len(plain) == 4
    for without, with_noise in zip(plain, noisy, strict=True):
        assert without["pesq_wb"] > 4.64  # below 8 kHz it is the recording
        assert without["lsd_low_db"] < 3
        if without["native_high_band"]:
            assert with_noise["lsd_high_db"] < 0.7 * without["lsd_high_db"]
    assert summary_of(tmp_path / "interpolate")["bits_per_second"] is None
    assert summary_of(tmp_path / "interpolate")["utterances"]["dropped"] == 1


@pytest.mark.slow
def test_without_pesq_the_column_is_missing_by_name(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pesq" else find(name))
    rows = run(tmp_path / "out", "codec=demo", "num_utterances=1")
    names = [metric.name for metric in chosen_metrics() if metric.name != "pesq_wb"]
    assert pq.read_schema(tmp_path / "out" / "files.parquet").names[-len(names) :] == names
    assert "pesq_wb" not in rows[0]
    assert summary_of(tmp_path / "out")["missing"] == {
        "pesq_wb": "the package pesq is not installed: pip install 'snac_exp[metrics]'"
    }
    assert (
        "column pesq_wb is missing: the package pesq is not installed: pip install 'snac_exp[metrics]'"
        in capsys.readouterr().out
    )


def test_long_files_are_shortened_and_counted(trained: Path) -> None:
    summary = summary_of(trained)
    assert {row["seconds"] for row in pq.read_table(trained / "files.parquet").to_pylist()} == {0.6}
    assert summary["utterances"]["shortened"] == 5
    assert any("longer than max_seconds=0.6, so that the beginning counts: 5" in note for note in summary["notes"])


@pytest.mark.slow
def test_without_wide_training_files_the_noise_baseline_says_how_to_go_without(run: Any, tmp_path: Path) -> None:
    arguments = ["codec=demo", "wide_band.min_cutoff_hz=30000", "num_utterances=1"]
    with pytest.raises(DataError, match=r"baselines=\[interpolate\]"):
        run(tmp_path / "out", *arguments)
    rows = run(tmp_path / "out", *arguments, "baselines=[interpolate]")
    assert [row["output"] for row in rows] == ["24k", "48k"]
