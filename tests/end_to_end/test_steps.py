"""Runs that count in steps: validation, stages and phases within an epoch, and a resume there that is exact."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from recipe import recipe, run_dir
from test_resume import train
from token_recipe import SMALL, token_data, token_run

from snac_exp.checkpoints.file import read_checkpoint
from tests.helpers.same_runs import assert_equal, logged, outcome

CODEC = [
    "curriculum.unit=steps", "lr.unit=steps", "trainer.max_steps_per_epoch=null", "~curriculum.stages.c",
    "+curriculum.stages.a.steps=[1,7]", "+curriculum.stages.b.steps=[8,null]", "+lr.phases.warmup.steps=[1,2]",
    "+lr.phases.main.steps=[3,null]", "trainer.max_steps=11", "trainer.validate_every_steps=3",
]  # fmt: skip
"""Two stages and two phases in epochs of six and more steps; a checkpoint at every third step, as RECIPE has it."""
TOKENS = [
    "+experiment=rvq_run3_fast", *SMALL, "trainer.batch_size=10", "lr.unit=steps", "+lr.phases.main.steps=[1,13]",
    "trainer.validate_every_steps=4", "checkpoint.every_steps=5",
]  # fmt: skip


def codec_run(corpus_dir: Path, output: Path) -> list[str]:
    return [*recipe(corpus_dir, output), *CODEC, "trainer.accumulation=1"]


def token_arguments(corpus_dir: Path, output: Path) -> list[str]:
    return [*TOKENS, *token_data(corpus_dir, output)]


KINDS: dict[str, tuple[Callable[[Path, Path], list[str]], Callable[[Path], Path]]] = {
    "codec": (codec_run, run_dir),
    "tokens": (token_arguments, token_run),
}


@pytest.fixture(scope="module")
def whole(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The uninterrupted runs."""
    found = {}
    for kind, (arguments, folder) in KINDS.items():
        output = tmp_path_factory.mktemp(kind)
        train(*arguments(corpus_dir, output)).succeeded()
        found[kind] = folder(output)
    return found


@pytest.mark.slow
def test_a_run_in_steps_does_what_its_plan_says(whole: dict[str, Path]) -> None:
    lines, plan = logged(whole["codec"]), json.loads((whole["codec"] / "plan.json").read_text())
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 12))
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [0, 3, 6, 9, 11]
    found = [(it["epoch"], it["stage"], it["phase"], it["first_step"], it["num_steps"]) for it in plan["epochs"]]
    assert found[0] == (1, "a", "warmup", 0, 2)
    assert sum(steps for *_, steps in found) == plan["num_steps"] == 11
    assert {(stage, phase, first) for _, stage, phase, first, _ in found} >= {("a", "main", 2), ("b", "main", 7)}
    assert len({epoch for epoch, *_ in found}) == len(found) - 1, "the phase alone begins within an epoch"
    learning = [line["step"] for line in lines if "lr/trunk" in line]
    assert learning == list(range(3, 12))
    sizes = [line["data/batch_size"] for line in lines if line["kind"] == "train"]
    assert (sizes[6], sizes[7]) == (4, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "accident", "where"),
    [
        ("codec", "step=9", "before the validation that is due; back to the first epoch, before the stage ends it"),
        ("tokens", "step=9", "behind a validation that the newest checkpoint does not know of"),
    ],
)
def test_a_run_killed_within_an_epoch_equals_the_uninterrupted_one(
    kind: str, accident: str, where: str, whole: dict[str, Path], corpus_dir: Path, tmp_path: Path
) -> None:
    arguments, folder_of = KINDS[kind]
    killed = train(*arguments(corpus_dir, tmp_path), accident=accident)
    assert killed.status == -signal.SIGKILL, killed.err
    folder = folder_of(tmp_path)
    assert len(logged(folder)) < len(logged(whole[kind]))
    train(f"resume={folder}").succeeded()
    assert_equal(outcome(folder), outcome(whole[kind]), where)
    assert logged(folder) == logged(whole[kind])
    for path in sorted((whole[kind] / "checkpoints").glob("best_*.pt")):
        ours, theirs = (read_checkpoint(run / "checkpoints" / path.name) for run in (folder, whole[kind]))
        assert_equal(ours.model, theirs.model, path.name)
        assert (ours.objective, ours.state.step) == (theirs.objective, theirs.state.step)
