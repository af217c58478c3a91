"""What the real Trainer does with micro-batches, with a loss that is not finite, and with an outlier."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from token_recipe import GROWING, token_data, token_run
from torch import Tensor

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.training.rvq_lm.task import TokenTask
from snac_exp.verbs.training.train import main
from tests.helpers.same_runs import assert_equal, logged

EVERY_STEP = ["checkpoint.every_steps=1"]
MICRO_BATCHES = 3  # of a step of GROWING; each asks for the loss once


def hurt_losses(monkeypatch: pytest.MonkeyPatch, hurts: Callable[[int], bool], factor: float) -> None:
    """Multiply the losses of the steps (counted as they are tried, from 1) that `hurts` picks."""
    total, calls = TokenTask.total, 0

    def hurt(self: TokenTask, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        nonlocal calls
        calls += 1
        return total(self, terms, weights) * (factor if hurts(math.ceil(calls / MICRO_BATCHES)) else 1.0)

    monkeypatch.setattr(TokenTask, "total", hurt)


def checkpoints(folder: Path) -> dict[int, Checkpoint]:
    """Listed checkpoints by step."""
    entries = json.loads((folder / "checkpoints" / "latest.json").read_text())["checkpoints"]
    payloads = [read_checkpoint(folder / "checkpoints" / entry["file"]) for entry in entries]
    return {payload.state.step: payload for payload in payloads}


def train_lines(folder: Path) -> dict[int, dict[str, Any]]:
    lines = [line for line in logged(folder) if line["kind"] == "train"]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1)), "no step is missing or doubled"
    return {line["step"]: line for line in lines}


@pytest.fixture(scope="module")
def untroubled(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("untroubled")
    assert main([*GROWING, *token_data(corpus_dir, output)]) == 0
    return token_run(output)


@pytest.mark.slow
def test_s13_dividing_a_batch_changes_neither_what_is_logged_nor_what_is_learnt(
    corpus_dir: Path, tmp_path: Path
) -> None:
    found = []
    exact = ["trainer.precision=32-true", "lm.dropout=0.0", "trainer.max_steps_per_epoch=4"]
    for accumulation in (1, 3):  # ten windows at once; four, four and two
        divided = [*exact, f"trainer.accumulation={accumulation}"]
        assert main([*GROWING, *divided, *token_data(corpus_dir, tmp_path / str(accumulation))]) == 0
        found.append(train_lines(token_run(tmp_path / str(accumulation))))
    for step in range(1, 13):
        whole, parts = (lines[step] for lines in found)
        assert parts["train/loss"] == pytest.approx(whole["train/loss"], rel=1e-5)
        assert parts["train/grad_norm"] == pytest.approx(whole["train/grad_norm"], rel=1e-3)
    assert found[0][12]["train/loss"] < found[0][1]["train/loss"] - 0.3


@pytest.mark.slow
def test_a_value_that_is_not_finite_sends_the_run_back_with_lower_rates_and_is_counted(
    untroubled: Path,
    corpus_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hurt_losses(monkeypatch, lambda attempt: attempt == 14, math.nan)  # the newest checkpoint is that of step 12
    assert main([*GROWING, *token_data(corpus_dir, tmp_path)]) == 0
    folder = token_run(tmp_path)
    ours, theirs = train_lines(folder), train_lines(untroubled)
    assert ours.keys() == theirs.keys() == set(range(1, 21))
    assert all(ours[step] == theirs[step] for step in range(1, 13)), "up to the checkpoint nothing is different"
    assert all(ours[step]["lr/all"] == 0.5 * theirs[step]["lr/all"] for step in range(13, 21))
    newest = checkpoints(folder)[20]
    assert newest.rollbacks == {"num_rollbacks": 1, "rate_factor": 0.5}
    assert all(torch.isfinite(weight).all() for weight in newest.model.values())
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    snapshot = read_checkpoint(folder / "checkpoints" / "nonfinite_step13.pt")
    assert snapshot.failure is not None
    assert math.isnan(snapshot.failure["values"]["loss"])
    assert len(snapshot.failure["files"]) == 10
    said = capsys.readouterr().out
    assert "rollback 1 of 3 to the newest checkpoint, learning rates now 0.5 of the plan" in said
    assert said.count("step 13 of epoch 2: loss") == 1


@pytest.mark.slow
def test_rolling_back_to_step_0_keeps_the_figures_before_training(
    untroubled: Path, corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurt_losses(monkeypatch, lambda attempt: attempt == 1, math.nan)
    assert main([*GROWING, *token_data(corpus_dir, tmp_path)]) == 0
    folder = token_run(tmp_path)
    assert logged(folder)[0] == logged(untroubled)[0]
    assert [line["epoch"] for line in logged(folder) if line["kind"] == "validation"] == [0, 1, 2, 3]
    assert checkpoints(folder)[20].part("rollbacks")["num_rollbacks"] == 1


@pytest.mark.slow
def test_after_the_last_rollback_it_fails_truthfully_and_goes_on_once_mended(
    untroubled: Path,
    corpus_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    limited = [*GROWING, "trainer.guards.max_rollbacks=2", *token_data(corpus_dir, tmp_path)]
    with monkeypatch.context() as broken:
        hurt_losses(broken, lambda attempt: attempt >= 14, math.nan)
        assert main(limited) == 2
    folder, message = token_run(tmp_path), capsys.readouterr().err
    assert "DivergenceError: step 12 of epoch 2: loss" in message
    assert "after 2 rollbacks, rates at 0.25 of the plan" in message
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert "DivergenceError" in status["error"]
    last = read_checkpoint(folder / "checkpoints" / "nonfinite_step12.pt")
    assert last.rollbacks == {"num_rollbacks": 2, "rate_factor": 0.25}
    assert last.state.step == 12, "two steps were tried and not done"
    good = checkpoints(folder)
    assert max(good) == 12
    assert_equal(dict(good[12].model), dict(checkpoints(untroubled)[12].model))
    assert_equal(dict(last.model), dict(good[12].model))
    assert main([f"resume={folder}"]) == 0
    assert logged(folder) == logged(untroubled)


@pytest.mark.slow
def test_an_outlier_is_skipped_and_leaves_no_trace(
    corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hurt_losses(monkeypatch, lambda attempt: attempt == 4, 100.0)
    assert main([*GROWING, *EVERY_STEP, *token_data(corpus_dir, tmp_path)]) == 0
    folder = token_run(tmp_path)
    lines, saved = train_lines(folder), checkpoints(folder)
    assert {step for step, line in lines.items() if "train/skipped_outlier" in line} == {4}
    assert lines[4]["train/loss"] > 400
    for part in ("model", "optimizers", "average"):
        assert_equal(_without_rates(saved[4].part(part)), _without_rates(saved[3].part(part)), part)
    assert not torch.equal(saved[5].model["head.bias"], saved[4].model["head.bias"])
    three, four, last = (saved[step].part("outliers") for step in (3, 4, 20))
    assert four == three | {"num_in_row": 1, "num_skipped": 1}, "an outlier is not averaged in"
    assert (last["num_admitted"], last["num_skipped"], last["num_in_row"]) == (19, 1, 0)
    assert "times the running mean 6.885: step skipped (1 in a row, 1 in all)" in capsys.readouterr().out


@pytest.mark.slow
def test_only_so_many_steps_in_a_row_are_skipped(
    corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hurt_losses(monkeypatch, lambda attempt: attempt >= 4, 100.0)
    assert main([*GROWING, "trainer.guards.outlier_max_in_row=2", *token_data(corpus_dir, tmp_path)]) == 0
    lines = train_lines(token_run(tmp_path))
    # Step 6 is admitted and lifts the mean: 7 and 8 still exceed three times it, 9 is admitted, then it is high enough.
    assert {step for step, line in lines.items() if "train/skipped_outlier" in line} == {4, 5, 7, 8}
    assert "2 steps in a row were skipped: admitted" in capsys.readouterr().out


def _without_rates(value: Any) -> Any:
    """Optimizers without their learning rates, which follow the plan also when a step is skipped."""
    if isinstance(value, dict) and "optimizer" in value:
        return {name: _without_rates(item) for name, item in value.items()}
    if not (isinstance(value, dict) and "param_groups" in value):
        return value
    return value | {"param_groups": [{k: v for k, v in group.items() if k != "lr"} for group in value["param_groups"]]}
