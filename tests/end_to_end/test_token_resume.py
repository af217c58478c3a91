"""On a CPU resume of a token run is bit-exact: weights, moments, guards and logged values."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_resume import DRIVER, ROOT
from token_recipe import GROWING, token_data, token_run

from snac_exp.verbs.training.train import main
from tests.helpers.same_runs import assert_equal, logged, outcome
from tests.helpers.waiting import GUARD_SECONDS


@pytest.fixture(scope="module")
def whole(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    output = tmp_path_factory.mktemp("whole")
    assert main([*GROWING, *token_data(corpus_dir, output)]) == 0
    return token_run(output)


@pytest.mark.slow
def test_the_uninterrupted_run_did_what_its_plan_says(whole: Path) -> None:
    lines, plan = logged(whole), json.loads((whole / "plan.json").read_text())
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 21))
    assert [epoch["num_tokens"] for epoch in plan["epochs"]] == [16, 32, 32]
    saved = outcome(whole)
    assert (saved["state"]["epoch"], saved["state"]["step"], saved["rollbacks"]["num_rollbacks"]) == (4, 20, 0)
    assert saved["outliers"]["num_admitted"] == 20
    assert saved["outliers"]["mean"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accident", "where"),
    [
        ("step=13", "in mid-epoch, after the windows have grown"),
        ("write=10", "while the checkpoint is written after which the windows grow"),
    ],
)
def test_s06_killed_and_resumed_equals_uninterrupted(
    accident: str, where: str, whole: Path, corpus_dir: Path, tmp_path: Path
) -> None:
    program = [sys.executable, str(DRIVER), accident, *GROWING, *token_data(corpus_dir, tmp_path)]
    killed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, env=os.environ, timeout=GUARD_SECONDS)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = token_run(tmp_path)
    assert logged(folder) != logged(whole)
    assert main([f"resume={folder}"]) == 0
    assert_equal(outcome(folder), outcome(whole), where)
    assert logged(folder) == logged(whole)
