"""What a submitted job makes of the end of its run: a return, a requeue by submitit, a failure."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from submitit.core import job_environment, utils

from snac_exp.sweeps import slurm
from snac_exp.sweeps.slurm import TrainJob
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.training import train as entry


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[TrainJob, list[int]]]]:
    """A TrainJob whose run ends as told, under a recorded submitit handler."""
    before = signal.getsignal(signal.SIGUSR2)

    def make(status: int, stopped_by: str | None, rank: int = 0) -> tuple[TrainJob, list[int]]:
        called: list[int] = []
        signal.signal(signal.SIGUSR2, lambda number, _: called.append(number))
        RunFolder(tmp_path).set_status("finished" if status == 0 else "preempted", stopped_by=stopped_by)
        (tmp_path / "code/snac_exp").mkdir(parents=True)
        (tmp_path / "code/snac_exp/__init__.py").touch()
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
