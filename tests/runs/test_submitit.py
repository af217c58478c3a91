"""The SLURM path without SLURM: submitit's local executor and requeue, our hand-over, a mocked clock."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from submitit.core import job_environment, utils

from snac_exp.runs import entry, slurm
from snac_exp.runs.multirun import multirun
from snac_exp.runs.slurm import TrainJob
from snac_exp.runs.sweep import Sweep
from snac_exp.runs.truth import status_of
from snac_exp.tracking.tracker import read_metrics
from snac_exp.training.checkpoints import read_checkpoint

ROOT = Path(__file__).parents[2]
LONGER = [
    "curriculum.stages={a: {epochs: [1, 5], segment_seconds: 0.2}}", "lr.phases.main.epochs=[2,5]",
    "trainer.validate_every_epochs=5", "checkpoint.every_epochs=5",
]  # fmt: skip


def only_sweep(tmp_path: Path) -> Sweep:
    (path,) = (tmp_path / "outputs/sweeps/tiny").iterdir()
    return Sweep(path)


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def final_model(run_dir: Path) -> dict[str, torch.Tensor]:
    entry = json.loads((run_dir / "checkpoints/latest.json").read_text())["checkpoints"][0]
    model: dict[str, torch.Tensor] = read_checkpoint(run_dir / "checkpoints" / entry["file"])["model"]
    return model


def test_preempted_and_requeued_equals_uninterrupted(tiny: list[str], tmp_path: Path) -> None:
    local = ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.poll_seconds=0.2"]
    assert multirun(["-m", *tiny, *LONGER, *local, "wait=false"]) == 0
    sweep = only_sweep(tmp_path)
    (row,) = sweep.rows()
    run_dir = sweep.run_dir(row)
    (sweep.code / "conf/train.yaml").write_text("nonsense: [")  # a queued job is deaf to edits of YAML
    wait_for(lambda: (run_dir / "metrics.jsonl").exists() and '"train"' in (run_dir / "metrics.jsonl").read_text(), 60)
    status = status_of(run_dir)
    assert status is not None
    os.kill(status["pid"], signal.SIGUSR2)
    wait_for(lambda: sweep.refresh()[0].state == "finished", 90)
    (row,) = sweep.rows()
    assert row.attempts == 2

    whole = tmp_path / "whole"
    command = [sys.executable, "train.py", *tiny[:-1], *LONGER, f"output_dir={whole}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (uninterrupted,) = (whole / "tiny").iterdir()
    ours, theirs = final_model(run_dir), final_model(uninterrupted)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for folder in (run_dir, uninterrupted):
        assert [line["step"] for line in read_metrics(folder) if line["kind"] == "train"] == list(range(1, 16))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[TrainJob, list[int]]]]:
    """A TrainJob whose run ends as told, under a recorded submitit handler."""
    before = signal.getsignal(signal.SIGUSR2)

    def make(status: int, stopped_by: str | None, rank: int = 0) -> tuple[TrainJob, list[int]]:
        called: list[int] = []
        signal.signal(signal.SIGUSR2, lambda number, _: called.append(number))
        (tmp_path / "status.json").write_text(json.dumps({"stopped_by": stopped_by}))
        (tmp_path / "sweep.json").write_text(json.dumps({"question": {}, "backend": {}, "directory": "."}))
        monkeypatch.setattr(entry, "resume_run", lambda _: status)
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        return TrainJob(str(tmp_path), str(tmp_path)), called

    yield make
    signal.signal(signal.SIGUSR2, before)


def test_a_finished_run_returns(job: Any) -> None:
    task, called = job(0, None)
    assert task() == 0
    assert called == []


def test_a_time_limit_is_handed_to_submitit_after_saving_and_then_ends_as_75(job: Any) -> None:
    task, called = job(75, "SIGUSR2")
    with pytest.raises(SystemExit) as exit_:
        task()
    assert exit_.value.code == 75
    assert called == [signal.SIGUSR2]


def test_a_cancelled_run_is_no_success_and_not_requeued(job: Any) -> None:
    task, called = job(75, "SIGTERM")
    with pytest.raises(SystemExit) as exit_:
        task()
    assert exit_.value.code == 75
    assert called == []


def test_ranks_other_than_0_return(job: Any) -> None:
    task, called = job(75, "SIGUSR2", rank=1)
    assert task() == 75
    assert called == []


def test_a_failing_run_raises_into_submitit(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = job(0, None)

    def fail(_: Path) -> int:
        raise ValueError("told to")

    monkeypatch.setattr(entry, "resume_run", fail)
    with pytest.raises(ValueError, match="told to"):
        task()


@pytest.mark.parametrize(("left", "requeued"), [(1, True), (0, False)])
def test_time_limits_are_counted_by_submitits_clock(
    left: int, requeued: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day's job under a mocked clock: at its end submitit requeues it as often as max_num_timeout says."""
    now = [1000.0]
    monkeypatch.setattr(job_environment.time, "time", lambda: now[0])
    delayed = utils.DelayedSubmission(TrainJob(str(tmp_path), str(tmp_path)))
    delayed.set_timeout(slurm.Slurm().timeout_min, left)
    requeues: list[int] = []

    class Environment(job_environment.JobEnvironment):
        global_rank = 0  # type: ignore[assignment]

        def _requeue(self, countdown: int) -> None:
            requeues.append(countdown)

    paths = utils.JobPaths(tmp_path, "1")
    handler = job_environment.SignalHandler(Environment(), paths, delayed)
    now[0] += 24 * 3600 - 60
    with pytest.raises(SystemExit if requeued else utils.UncompletedJobError):
        handler.checkpoint_and_try_requeue(signal.SIGUSR2)
    assert requeues == ([left - 1] if requeued else [])
    if requeued:
        assert utils.DelayedSubmission.load(paths.submitted_pickle).function == delayed.function
