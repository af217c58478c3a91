"""Clips of every validation: reference, pretrained, heads; as audio, as one picture, with figures."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lightning_fabric import Fabric
from recipe import CLIP, recipe

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Experiment
from snac_exp.metrics.waveform.lsd_high import lsd_high
from snac_exp.tracking.clip_rows import read_clip_rows
from snac_exp.training.build import build
from snac_exp.training.codec.decoder_task import DecoderTask
from snac_exp.training.codec.evaluator import CodecEvaluator
from snac_exp.training.codec.samples import write_samples
from snac_exp.training.setup import TrainingSetup

FABRIC = Fabric(accelerator="cpu", devices=1)


def setup_of(corpus_dir: Path, *overrides: str) -> tuple[Experiment, TrainingSetup]:
    experiment, _ = compose_experiment(hydra_overrides([*recipe(corpus_dir, corpus_dir), *CLIP, *overrides]))
    return experiment, build(experiment)


def written(experiment: Experiment, setup: TrainingSetup, directory: Path) -> dict[str, np.ndarray]:
    evaluator = setup.evaluator
    assert isinstance(evaluator, CodecEvaluator)
    assert isinstance(setup.task, DecoderTask)
    write_samples(setup.task, evaluator.splits, experiment, FABRIC, directory, evaluator.codec)
    return {path.stem: soundfile.read(path, dtype="float32")[0] for path in directory.glob("*.wav")}


@torch.no_grad()
def disturb(task: torch.nn.Module) -> None:
    for name, parameter in task.named_parameters():
        if name.endswith("bias"):
            parameter.add_(0.01)


@pytest.mark.slow
def test_before_training_the_native_head_is_the_pretrained_codec(corpus_dir: Path, tmp_path: Path) -> None:
    experiment, setup = setup_of(corpus_dir, "trainer.num_sample_clips=2")
    start = written(experiment, setup, tmp_path / "epoch000")
    labels = ("reference_48k", "pretrained_24k", "24k", "48k")
    assert set(start) == {f"clip{clip}_{label}" for clip in (0, 1) for label in labels}
    for clip in (0, 1):
        np.testing.assert_array_equal(start[f"clip{clip}_24k"], start[f"clip{clip}_pretrained_24k"])
        assert start[f"clip{clip}_24k"].std() > 1e-3
        assert len(start[f"clip{clip}_reference_48k"]) == 2 * len(start[f"clip{clip}_24k"])
        assert (tmp_path / "epoch000" / f"clip{clip}.png").stat().st_size > 10_000
    disturb(setup.task)
    later = written(experiment, setup, tmp_path / "epoch001")
    for clip in (0, 1):
        np.testing.assert_array_equal(later[f"clip{clip}_pretrained_24k"], start[f"clip{clip}_pretrained_24k"])
        assert np.abs(later[f"clip{clip}_24k"] - start[f"clip{clip}_24k"]).max() > 1e-3


@pytest.mark.slow
def test_the_table_has_a_row_of_distances_for_each_estimate(corpus_dir: Path, tmp_path: Path) -> None:
    experiment, setup = setup_of(corpus_dir)
    sounds = written(experiment, setup, tmp_path)
    rows = {row["signal"]: row for row in read_clip_rows(tmp_path)}
    assert list(rows) == ["pretrained_24k", "24k", "48k"]
    assert {row["clip"] for row in rows.values()} == {"clip0"}
    assert all(row["file"].endswith(".flac") and row["start_seconds"] >= 0 for row in rows.values())
    wide = rows["48k"]
    assert (wide["rate_hz"], wide["seconds"]) == (48_000, len(sounds["clip0_48k"]) / 48_000)
    reference, estimate = (torch.from_numpy(sounds[f"clip0_{label}"]) for label in ("reference_48k", "48k"))
    assert wide["l1"] == pytest.approx((reference - estimate).abs().mean().item(), rel=1e-3)
    assert wide["lsd_high_db"] == pytest.approx(lsd_high(reference, estimate).active_db, rel=0.02)
    assert "lsd_high_db" not in rows["24k"]
    assert {name: rows["24k"][name] for name in ("l1", "mel_distance")} == {
        name: rows["pretrained_24k"][name] for name in ("l1", "mel_distance")
    }


@pytest.mark.slow
def test_a_recipe_without_a_native_head_is_heard_beside_the_pretrained_codec_too(
    corpus_dir: Path, tmp_path: Path
) -> None:
    experiment, setup = setup_of(corpus_dir, "heads=wideband", "lr.phases.warmup.groups.head_48k=2e-4")
    sounds = written(experiment, setup, tmp_path)
    assert set(sounds) == {"clip0_reference_48k", "clip0_pretrained_24k", "clip0_48k"}
    rows = {row["signal"]: row for row in read_clip_rows(tmp_path)}
    assert set(rows) == {"pretrained_24k", "48k"}
    assert 0 < rows["pretrained_24k"]["l1"] < 0.2


@pytest.mark.slow
def test_context_around_the_slice_is_cut_from_the_pretrained_clip_as_from_the_heads(
    corpus_dir: Path, tmp_path: Path
) -> None:
    experiment, setup = setup_of(corpus_dir, "data.context_tokens=2")
    sounds = written(experiment, setup, tmp_path)
    np.testing.assert_array_equal(sounds["clip0_24k"], sounds["clip0_pretrained_24k"])


@pytest.mark.slow
def test_without_clips_nothing_is_written(corpus_dir: Path, tmp_path: Path) -> None:
    experiment, setup = setup_of(corpus_dir, "trainer.num_sample_clips=0")
    assert written(experiment, setup, tmp_path / "epoch000") == {}
    assert not (tmp_path / "epoch000").exists()
