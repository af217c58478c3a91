"""One healthy run, and a copy of it for each test."""

import os
from pathlib import Path

import pytest

from snac_exp.checkpoints.format import Checkpoint
from tests.doctor.trained_run import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Checkpoint]]:
    run_dir = tmp_path_factory.mktemp("doctor") / "run"
    return run_dir, train([], run_dir, 14, {0, 7, 14})


@pytest.fixture
def run(trained: tuple[Path, dict[int, Checkpoint]], tmp_path: Path) -> Path:
    """A copy of the healthy run that a test may spoil."""
    folder = tmp_path / "it's a run, with 'odd' name"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl", "checkpoints/latest.json"):
        (folder / name).write_bytes((trained[0] / name).read_bytes())
    for path in (trained[0] / "checkpoints").glob("*.pt"):
        os.link(path, folder / "checkpoints" / path.name)
    return folder
