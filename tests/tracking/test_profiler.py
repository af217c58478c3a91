import json
from pathlib import Path

import pytest
import torch

from snac_exp.config.compose import compose_experiment
from snac_exp.errors import ConfigError
from snac_exp.tracking.profiler import StepProfiler


def work(step: int) -> torch.Tensor:
    with torch.profiler.record_function(f"step {step}"):
        return torch.ones(64, 64) @ torch.ones(64, 64)


def train(profiler: StepProfiler, first: int, last: int) -> None:
    for step in range(first, last + 1):
        work(step)
        profiler.after_step(step)


def steps_in(trace: Path) -> set[str]:
    return {
        event["name"] for event in json.loads(trace.read_text())["traceEvents"] if event["name"].startswith("step ")
    }


@pytest.mark.slow
def test_the_trace_holds_the_steps_asked_for(tmp_path: Path) -> None:
    notes: list[str] = []
    train(StepProfiler(tmp_path, (3, 5), num_steps=9, on_cuda=False, note=notes.append), 1, 9)
    assert steps_in(tmp_path / "trace.json") == {"step 3", "step 4", "step 5"}
    [note] = notes
    assert str(tmp_path / "trace.json") in note
    assert "aten::mm" in note
    assert "Self CPU" in note


def test_a_short_run_ends_the_recording_with_itself(tmp_path: Path) -> None:
    train(StepProfiler(tmp_path, (5, 10), num_steps=6, on_cuda=False, note=lambda _: None), 1, 6)
    assert steps_in(tmp_path / "trace.json") == {"step 5", "step 6"}


def test_without_steps_or_after_them_nothing_is_recorded(tmp_path: Path) -> None:
    train(StepProfiler(tmp_path, None, num_steps=6, on_cuda=False, note=pytest.fail), 1, 6)
    train(StepProfiler(tmp_path, (2, 3), num_steps=9, on_cuda=False, note=pytest.fail), 4, 9)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("steps", [(1, 3), (5, 4), (9, 12)])
def test_steps_that_the_run_does_not_have(tmp_path: Path, steps: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"tracker\.profile_steps=.*has 8 steps"):
        StepProfiler(tmp_path, steps, num_steps=8, on_cuda=False, note=lambda _: None)


@pytest.mark.slow
def test_the_preset_asks_for_steps_that_its_epochs_have() -> None:
    experiment, _ = compose_experiment(["+experiment=demo", "+debug=profile"])
    assert experiment.tracker.profile_steps == (5, 10)
    assert (experiment.trainer.max_steps_per_epoch or 0) >= 10
    assert experiment.trainer.batch_size == compose_experiment(["+experiment=demo"])[0].trainer.batch_size
