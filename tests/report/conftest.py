"""Run folders made by hand, as people find them."""

from pathlib import Path

import pytest

from tests.report.folders import make_run, summary


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run with two clips."""
    return make_run(tmp_path / "run", clips=2, summary=summary(), overrides=["+experiment=demo", "seed=0"])
