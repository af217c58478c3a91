"""Fixtures for tests that start real runs: the smallest recipe, and one thread each."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tiny(corpus_dir: Path, tmp_path: Path) -> list[str]:
    """Overrides of train.py for the smallest recipe that trains, validates and checkpoints: seconds on one core."""
    return [
        "+experiment=phase12_dual_head", "codec=demo", "name=tiny", "tracker.mode=off", "loss.n_ffts.head_24k=[256]",
        "loss.n_ffts.head_48k=[256]", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.num_workers=0",
        "trainer.batch_size=2", "trainer.max_steps_per_epoch=3", "trainer.log_every_steps=1",
        "trainer.num_sample_clips=0", "trainer.preflight=[start]", "trainer.summary_utterances=0",
        "data.validation_slices=2",
        "data.validation_seconds=0.3", "curriculum.stages={a: {epochs: [1, 2], segment_seconds: 0.2}}",
        "~curriculum.stages.b", "~curriculum.stages.c", "~curriculum.stages.d", "lr.phases.main.epochs=[2,2]",
        f"data.cache_dir={corpus_dir / 'prepared' / 'codes_demo'}", f"output_dir={tmp_path / 'outputs'}",
    ]  # fmt: skip
