"""A codec from random weights: layers scaled on data, an autoencoder, k-means, discriminators; resumed exactly."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recipe import ADVERSARY

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.training.loop import Trainer
from tests.helpers import commands
from tests.helpers.same_runs import assert_equal, logged, outcome

START = [
    "+experiment=snac_from_scratch", "codec=scratch_demo", "name=small", "start=on_data", "quantizer=average",
    "codec.scratch.encoder_dim=2", "codec.scratch.decoder_dim=16", "codec.scratch.codebook_size=8",
    "start.standardise_batches=2", "start.autoencoder_steps=3", "start.kmeans_batches=3", "tracker.mode=off",
    "loss.n_ffts.head_24k=[256]", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.num_workers=0",
    "trainer.batch_size=2", "trainer.max_steps_per_epoch=3", "trainer.max_steps=6", "trainer.log_every_steps=1",
    "trainer.num_sample_clips=0", "trainer.preflight=[start]", "trainer.summary_utterances=0", "trainer.ema_decay=0.5",
    "trainer.accumulation=2", "data.validation_slices=2", "data.validation_seconds=0.4", "checkpoint.every_steps=1",
    "checkpoint.keep_intermediate=9", "curriculum.stages.all.segment_seconds=0.3", *ADVERSARY, "adversary.start_step=4",
]  # fmt: skip
"""Six steps in two epochs: three without codebooks, one with them, two with discriminators besides."""


def recipe(corpus_dir: Path, output: Path, *more: str) -> list[str]:
    return [*START, f"data.path={corpus_dir / 'prepared'}", f"output_dir={output}", *more]


def run_dir(output: Path) -> Path:
    (found,) = (output / "small").iterdir()
    return found


def fail_after(monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    """Let every run fail once step `number` is done and logged, and not saved."""
    log = getattr(Trainer._log, "whole", Trainer._log)

    def failing(self: Trainer, *arguments: Any) -> None:
        log(self, *arguments)
        if self.state.step == number:
            raise RuntimeError("the machine fails")

    failing.whole = log  # type: ignore[attr-defined]
    monkeypatch.setattr(Trainer, "_log", failing)


@pytest.fixture(scope="module")
def whole(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    commands.train(*recipe(corpus_dir, output)).succeeded()
    return run_dir(output)


def vectors(folder: Path, step: int) -> list[torch.Tensor]:
    """The codebooks in the checkpoint of a step."""
    (path,) = [path for path in (folder / "checkpoints").glob("checkpoint_*.pt") if f"iter{step}." in path.name] or [
        folder / "checkpoints" / {0: "checkpoint_epoch0.pt", 3: "checkpoint_epoch1.pt", 6: "checkpoint_epoch2.pt"}[step]
    ]
    model = read_checkpoint(path).model
    return [model[f"quantizer.quantizers.{i}.codebook.weight"] for i in range(3)]


@pytest.mark.slow
def test_codebooks_rest_until_their_step_and_then_follow_what_chose_them(whole: Path) -> None:
    first, before, after, last = (vectors(whole, step) for step in (0, 3, 4, 6))
    for i in range(3):
        assert torch.equal(first[i], before[i]), "no step without codebooks moves them"
        assert not torch.equal(before[i], after[i])
        assert not torch.equal(after[i], last[i])
        assert after[i].norm(dim=1).max() < 8**0.5 + 1e-4, "means of vectors of this length"
    trained = [line for line in logged(whole) if line["kind"] == "train"]
    assert [line["train/codebook/commitment"] > 0 for line in trained] == [False] * 3 + [True] * 3
    assert ["train/adversary/loss" in line for line in trained] == [False] * 4 + [True] * 2
    assert json.loads((whole / "plan.json").read_text())["autoencoder_steps"] == 3
    best = read_checkpoint(whole / "checkpoints" / "best_model.pt").model
    assert any(torch.equal(best["quantizer.quantizers.0.codebook.weight"], it[0]) for it in (before, last))


@pytest.mark.slow
def test_s06_resumed_before_at_and_after_the_first_step_of_the_codebooks(
    whole: Path, corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = recipe(corpus_dir, tmp_path)
    for number in (3, 4, 5):  # from the checkpoints of steps 2, 3 (the codebooks begin again) and 4
        fail_after(monkeypatch, number)
        with pytest.raises(RuntimeError, match="the machine fails"):
            commands.train(*arguments)
        arguments = [f"resume={run_dir(tmp_path)}"]
    fail_after(monkeypatch, None)
    commands.train(*arguments).succeeded()
    assert_equal(outcome(run_dir(tmp_path)), outcome(whole), "after three failures")
    assert logged(run_dir(tmp_path)) == logged(whole)
