"""Runs that count in steps and learn from mixtures: what is done when, what of which source, and exact resume."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from recipe import SUMMARY, recipe, run_dir
from test_resume import train
from token_recipe import SMALL, token_run

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.config.arguments import quoted
from tests.helpers.same_runs import assert_equal, logged, outcome

CODEC = [
    "data=mixture", "data.validation_slices=2", "data.validation_seconds=0.5", "data.epoch_rows=20",
    "data.balance=speakers", "curriculum.unit=steps", "lr.unit=steps", "~curriculum.stages.c",
    "+curriculum.stages.a.steps=[1,7]", "+curriculum.stages.b.steps=[8,null]", "+lr.phases.warmup.steps=[1,2]",
    "+lr.phases.main.steps=[3,null]", "trainer.max_steps=11", "trainer.validate_every_steps=3",
    "trainer.max_steps_per_epoch=null", "trainer.accumulation=1",
]  # fmt: skip
"""Epochs of five, two and four steps: the second one ends with its stage. A checkpoint at every third step."""
TOKENS = [
    "+experiment=rvq_run3_fast", *SMALL, "data=mixture_tokens", "data.epoch_rows=70", "trainer.batch_size=10",
    "lr.unit=steps", "+lr.phases.main.steps=[1,13]", "trainer.validate_every_steps=4", "checkpoint.every_steps=5",
]  # fmt: skip
"""Two epochs of seven and six steps."""


def codec_run(corpus_dir: Path, output: Path) -> list[str]:
    kept = [item for item in recipe(corpus_dir, output) if not item.startswith("data.")]
    return [*kept, *CODEC, sources(corpus_dir, "limit: 3, ")]


def token_arguments(corpus_dir: Path, output: Path) -> list[str]:
    return [*TOKENS, sources(corpus_dir), f"output_dir={output}"]


def sources(corpus_dir: Path, more: str = "") -> str:
    """Three quarters of one cache, perhaps of few rows of it, and one quarter of the same."""
    place = "cache_dir: " + quoted(str(corpus_dir / "prepared" / "codes_demo"))
    return f"data.sources={{few: {{{place}, {more}weight: 3}}, all: {{{place}, weight: 1}}}}"


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
        train(*arguments(corpus_dir, output), *(SUMMARY if kind == "codec" else ())).succeeded()
        found[kind] = folder(output)
    return found


@pytest.mark.slow
def test_a_run_in_steps_does_what_its_plan_says(whole: dict[str, Path]) -> None:
    lines, plan = logged(whole["codec"]), json.loads((whole["codec"] / "plan.json").read_text())
    steps = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in steps] == list(range(1, 12))
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [0, 3, 6, 9, 11]
    found = [(it["epoch"], it["stage"], it["phase"], it["first_step"], it["num_steps"]) for it in plan["epochs"]]
    assert found == [
        (1, "a", "warmup", 0, 2), (1, "a", "main", 2, 3), (2, "a", "main", 5, 2), (3, "b", "main", 7, 4),
    ]  # fmt: skip
    assert [line["step"] for line in lines if "lr/trunk" in line] == list(range(3, 12))
    assert [line["epoch"] for line in steps] == [1] * 5 + [2] * 2 + [3] * 4
    assert [line["data/batch_size"] for line in steps] == [4.0] * 7 + [2.0] * 4


@pytest.mark.slow
def test_sources_are_counted_and_measured_each_and_together(whole: dict[str, Path]) -> None:
    run = whole["codec"]
    lines = logged(run)
    seen = [(it["data/rows_seen/few"], it["data/rows_seen/all"]) for it in lines if it["kind"] == "train"]
    assert [sum(pair) for pair in seen] == [4, 8, 12, 16, 20, 24, 28, 30, 32, 34, 36]
    assert seen[4] == (15, 5), "a whole epoch"
    for line in (line for line in lines if line["kind"] == "validation"):
        few, both = line["val/source/few/objective"], line["val/source/all/objective"]
        assert few == both == pytest.approx(line["val/objective"]), "the slices of one cache, whatever is trained on"
        assert "val/source/few/head_48k/l1" in line
    assert_summed_up(run)
    assert sorted(path.name for path in (run / "checkpoints").glob("best_*")) == [
        "best_model.pt", "best_model_24k.pt", "best_model_48k.pt",
    ]  # fmt: skip
    log = (run / "train.log").read_text()
    assert "rows seen: few 15 (75.0%), all 5 (25.0%)" in log
    assert "an epoch takes 15 of few (75.0%, 5 times its rows), 5 of all" in log
    assert "rows seen/few" in (run / "report.html").read_text()


@pytest.mark.slow
def test_a_token_model_is_measured_on_every_source(whole: dict[str, Path]) -> None:
    lines = logged(whole["tokens"])
    assert sum(lines[-2][f"data/rows_seen/{name}"] for name in ("few", "all")) == 130
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [0, 4, 8, 12, 13]
    last = lines[-1]
    assert last["val/source/few/objective"] == last["val/source/all/objective"] == pytest.approx(last["val/objective"])
    assert_summed_up(whole["tokens"])


def assert_summed_up(run: Path) -> None:
    """summary.json has the rows seen of every source, and each metric of its last validation."""
    summary, lines = json.loads((run / "summary.json").read_text()), logged(run)
    trained, validated = ([it for it in lines if it["kind"] == kind][-1] for kind in ("train", "validation"))
    expected = {key.removeprefix("val/"): it for key, it in validated.items() if key.startswith("val/source/")}
    expected |= {f"source/{name}/rows_seen": trained[f"data/rows_seen/{name}"] for name in ("few", "all")}
    assert "source/few/objective" in expected
    assert {key: value for key, value in summary.items() if key.startswith("source/")} == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("codec", "before the validation that is due; back to the second epoch, before its stage ends it"),
        ("tokens", "behind a validation that the newest checkpoint does not know of"),
    ],
)
def test_a_run_killed_within_an_epoch_equals_the_uninterrupted_one(
    kind: str, where: str, whole: dict[str, Path], corpus_dir: Path, tmp_path: Path
) -> None:
    arguments, folder_of = KINDS[kind]
    killed = train(*arguments(corpus_dir, tmp_path), accident="step=9")
    assert killed.status == -signal.SIGKILL, killed.err
    folder = folder_of(tmp_path)
    assert len(logged(folder)) < len(logged(whole[kind]))
    train(f"resume={folder}").succeeded()
    assert sum(outcome(folder)["extra"]["rows_seen"].values()) == {"codec": 36, "tokens": 130}[kind]
    assert_equal(outcome(folder), outcome(whole[kind]), where)
    assert logged(folder) == logged(whole[kind])
    for path in sorted((whole[kind] / "checkpoints").glob("best_*.pt")):
        ours, theirs = (read_checkpoint(run / "checkpoints" / path.name) for run in (folder, whole[kind]))
        assert_equal(ours.model, theirs.model, path.name)
        assert (ours.objective, ours.state.step) == (theirs.objective, theirs.state.step)
