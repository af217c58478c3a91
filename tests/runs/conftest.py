"""Sweeps without training: jobs are the stub beside this file."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.sweeps import local_pool as pool
from snac_exp.sweeps.jobs import Job
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.sweeps.sweep import Sweep

STUB = Path(__file__).with_name("stub_job.py")
POOL = {"target": "snac_exp.sweeps.local_pool.Pool", "parameters": {"processes": 2}}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stub_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are the stub."""
    monkeypatch.setattr(pool, "resume_command", stub_command)


@pytest.fixture
def make_sweep(tmp_path: Path, stub_jobs: None) -> Callable[..., Sweep]:
    """A sweep of stub jobs that do what they are told: finish, raise, exit, die, sleep."""

    def make(*deeds: str) -> Sweep:
        jobs = []
        for index, deed in enumerate(deeds):
            overrides = [f"output_dir={tmp_path}", "tracker.mode=off", f"seed={index}", f"tracker.tags=[{deed}]"]
            experiment, values = compose_experiment(overrides)
            jobs.append(Job(index, overrides, [f"seed={index}"], experiment, values, 4, 16, 0.1))
        sweep = Sweep.create(jobs, SweepSettings(), POOL, [], again=True)
        sweep.add(jobs)
        return sweep

    return make


def stub_command(run_dir: Path, root: Path | None = None) -> tuple[list[str], dict[str, str]]:
    """In place of a training process."""
    import os

    return [sys.executable, str(STUB), str(run_dir)], {**os.environ, "PYTHONPATH": str(STUB.parents[2])}


@pytest.fixture
def tiny(corpus_dir: Path, tmp_path: Path) -> list[str]:
    """Overrides of train.py for the smallest recipe that trains, validates and checkpoints: seconds on one core."""
    return [
        "+experiment=phase12_dual_head", "codec=demo", "name=tiny", "tracker.mode=off", "loss.n_ffts.head_24k=[256]",
        "loss.n_ffts.head_48k=[256]", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.num_workers=0",
        "trainer.batch_size=2", "trainer.max_steps_per_epoch=3", "trainer.log_every_steps=1",
        "trainer.num_sample_clips=0", "trainer.preflight_rows=6", "trainer.summary_utterances=1",
        "data.validation_slices=2",
        "data.validation_seconds=0.3", "curriculum.stages={a: {epochs: [1, 2], segment_seconds: 0.2}}",
        "~curriculum.stages.b", "~curriculum.stages.c", "~curriculum.stages.d", "lr.phases.main.epochs=[2,2]",
        f"data.cache_dir={corpus_dir / 'prepared' / 'codes_demo'}", f"output_dir={tmp_path / 'outputs'}",
    ]  # fmt: skip
