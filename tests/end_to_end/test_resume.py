"""On a CPU resume is bit-exact: weights, moments and logged values equal those of an uninterrupted run."""

import json
import signal
from pathlib import Path

import pytest
from recipe import ADVERSARY, CLIP, recipe, run_dir

from tests.helpers import commands
from tests.helpers.commands import Done, python_process, train_process
from tests.helpers.same_runs import assert_equal, logged, outcome
from tests.helpers.variants import thorough

pytestmark = pytest.mark.slow  # the runs that all look at take longest

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")


def train(*arguments: str, accident: str | None = None) -> Done:
    """In this process, or with an accident in one of its own."""
    return commands.train(*arguments) if accident is None else python_process(str(DRIVER), accident, *arguments)


@pytest.fixture(scope="module")
def whole(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    output = tmp_path_factory.mktemp("whole")
    done = train(*recipe(corpus_dir, output))
    assert done.status == 0, done.err
    return run_dir(output)


def test_the_uninterrupted_run_did_what_its_plan_says(whole: Path) -> None:
    lines = logged(whole)
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 17))
    assert [line["epoch"] for line in lines if line["kind"] == "validation"] == [0, 1, 2, 3, 4]
    status = json.loads((whole / "status.json").read_text())
    assert (status["state"], status["step"], status["num_steps"], status["seconds_left"]) == ("finished", 16, 16, 0.0)


@pytest.mark.parametrize(
    ("accident", "where"),
    [
        ("write=8", "in the middle of writing the checkpoint of an epoch"),
        *thorough(  # moments that a seed draws: tests/campaigns/test_kills.py
            ("step=8", "inside a stage, two steps after a checkpoint"),
            ("step=4", "across the warm-up/main boundary: before the epoch's own checkpoint"),
            ("list=0", "between the first checkpoint and its entry in latest.json"),
        ),
    ],
)
def test_s06_killed_and_resumed_equals_uninterrupted(
    accident: str, where: str, whole: Path, corpus_dir: Path, tmp_path: Path
) -> None:
    killed = train(*recipe(corpus_dir, tmp_path), accident=accident)
    assert killed.status == -signal.SIGKILL, killed.err
    folder = run_dir(tmp_path)
    resumed = train(f"resume={folder}")
    assert resumed.status == 0, resumed.err
    assert_equal(outcome(folder), outcome(whole), where)
    assert logged(folder) == logged(whole)


JUDGED = [
    *(*CLIP, *ADVERSARY, "adversary.start_step=3", "trainer.validate_every_epochs=2", "lr.phases.main.epochs=[2,2]"),
    *("~curriculum.stages.b", "~curriculum.stages.c"),
]
"""Eight steps in two epochs, of which the last five are with discriminators."""


@pytest.mark.thorough  # in bits of 16 in tests/runs/test_precision.py
def test_s06_an_adversary_is_resumed_with_its_optimizer(corpus_dir: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = train(*recipe(corpus_dir, whole), *JUDGED)
    assert done.status == 0, done.err
    assert train(*recipe(corpus_dir, killed), *JUDGED, accident="step=5").status == -signal.SIGKILL
    resumed = train(f"resume={run_dir(killed)}")
    assert resumed.status == 0, resumed.err
    assert set(outcome(run_dir(whole))["optimizers"]) == {"optimizer", "adversary"}
    assert outcome(run_dir(whole))["adversary"]
    assert_equal(outcome(run_dir(killed)), outcome(run_dir(whole)))
    lines = [line for line in logged(run_dir(whole)) if line["kind"] == "train"]
    assert logged(run_dir(killed)) == logged(run_dir(whole))
    joined = [line["step"] for line in lines if "train/head_48k/feature_matching" in line]
    assert joined == list(range(4, 9)), "steps are counted when done; the adversary joins after three"
    assert [line["step"] for line in lines if "lr/adversary" in line] == joined


def test_sigterm_finishes_the_step_saves_and_exits_75(whole: Path, corpus_dir: Path, tmp_path: Path) -> None:
    stopped = train(*recipe(corpus_dir, tmp_path), accident="stop=6")
    assert stopped.status == 75, stopped.err
    folder = run_dir(tmp_path)
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["step"], status["num_steps"]) == ("preempted", 6, 16)
    assert status["seconds_left"] != 0.0  # as of a finished one
    assert "SIGTERM: saved at step 6" in stopped.out
    train_process(f"resume={folder}").succeeded()
    assert_equal(outcome(folder), outcome(whole))
    assert logged(folder) == logged(whole)


def test_resume_refuses_other_arguments_and_folders_without_a_run(tmp_path: Path, whole: Path) -> None:
    refused = train(f"resume={whole}", "seed=2")
    assert refused.status == 2
    assert "resume= takes no other arguments" in refused.err
    nowhere = train(f"resume={tmp_path}")
    assert nowhere.status == 2
    assert "is no run folder" in nowhere.err
