"""The doctor and real runs: quiet about a healthy one, and to the point about one that diverged."""

import re
from pathlib import Path

import pytest
import torch
from recipe import recipe, run_dir

from snac_exp import cli
from snac_exp.doctor.examine import examine
from snac_exp.doctor.findings import problems
from snac_exp.doctor.opening import entries_of
from snac_exp.losses.objective import Objective
from snac_exp.verbs.training.train import main


@pytest.mark.slow
def test_a_real_run_is_healthy_at_every_kind_of_checkpoint(
    corpus_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*recipe(corpus_dir, tmp_path), "trainer.max_steps_per_epoch=1"]) == 0
    folder = run_dir(tmp_path)
    capsys.readouterr()
    assert cli.run(["doctor", str(folder)]) == 0
    assert "healthy: nothing wrong was found" in capsys.readouterr().out
    for name in ("checkpoint_epoch0.pt", "checkpoint_epoch4.pt", "best_model.pt", "best_model_48k.pt"):
        assert examine(folder / "checkpoints" / name).findings == [], name


@pytest.mark.slow
def test_a_real_run_that_diverged_names_the_step_and_the_way_back(
    corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    total, calls = Objective.total, []

    def poisoned(self: Objective, *arguments: object) -> torch.Tensor:
        loss = total(self, *arguments)  # type: ignore[arg-type]
        if loss.requires_grad:
            calls.append(loss)
        return loss * float("nan") if loss.requires_grad and len(calls) == 12 else loss

    monkeypatch.setattr(Objective, "total", poisoned)
    assert main([*recipe(corpus_dir, tmp_path)]) == 2
    folder = run_dir(tmp_path)
    capsys.readouterr()
    assert cli.run(["doctor", str(folder)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    told = re.search(r"step (\d+) of epoch \d: loss, grad_norm not finite; nothing was updated", said)
    assert told is not None
    assert f"nonfinite_step{told[1]}.pt" in said
    report = examine(folder)
    assert [item.check for item in problems(report.findings)] == ["history"]
    newest = entries_of(folder)[0]
    assert 0 < newest.step <= int(told[1])
    assert report.last_good is not None
    assert (report.last_good.file.name, report.last_good.step) == (newest.file, newest.step)
    assert f"go on from it with: python train.py resume={folder}" in report.verdict
