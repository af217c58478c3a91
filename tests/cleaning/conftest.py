"""Two runs that ended long ago, on a machine where no SLURM answers."""

from pathlib import Path

import pytest

from tests.cleaning.outputs import make_outputs, queue_says


@pytest.fixture(autouse=True)
def _no_queue(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    queue_says(tmp_path_factory.mktemp("slurm") / "bin", "", monkeypatch)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    make_outputs(tmp_path / "outputs", 2)
    return tmp_path / "outputs"


@pytest.fixture
def run(outputs: Path) -> Path:
    return sorted((outputs / "toy").iterdir())[0]
