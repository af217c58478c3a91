"""Sweeps without training: jobs are the stub beside this file."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.sweeps import local_pool as pool
from snac_exp.sweeps.jobs import Job
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.sweeps.sweep import Sweep
from tests.helpers.tiny_runs import one_thread, tiny
from tests.helpers.webhook import webhook
from tests.sweeps.stub_job import stub_command

__all__ = ["one_thread", "tiny", "webhook"]

POOL = {"target": "snac_exp.sweeps.local_pool.Pool", "parameters": {"processes": 2}}


@pytest.fixture
def stub_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are the stub."""
    monkeypatch.setattr(pool, "resume_command", stub_command)


@pytest.fixture
def make_sweep(tmp_path: Path, stub_jobs: None) -> Callable[..., Sweep]:
    """A sweep of stub jobs that do what they are told: finish, raise, exit, die, sleep."""

    def make(*deeds: str, more: Sequence[str] = ()) -> Sweep:
        jobs = []
        for index, deed in enumerate(deeds):
            overrides = [f"output_dir={tmp_path}", "tracker.mode=off", f"seed={index}", f"tracker.tags=[{deed}]", *more]
            experiment, values = compose_experiment(overrides)
            jobs.append(Job(index, overrides, [f"seed={index}"], experiment, values, 4, 16, 0.1))
        sweep = Sweep.create(jobs, SweepSettings(), POOL, [], again=True)
        sweep.add(jobs)
        return sweep

    return make
