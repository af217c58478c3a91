"""Sizes by run and kind, rules, a dry run; moves into a trash, back out of it, and out for good."""

import json
from pathlib import Path
from typing import Any

import pytest

from snac_exp.board.index import Index
from snac_exp.cleaning.trash import Trash
from snac_exp.sweeps.sweep import Sweep
from tests.cleaning.outputs import (
    CHECKPOINT,
    NO_RULE,
    SAMPLE,
    aged,
    clean,
    files_of,
    make_outputs,
    make_run,
    make_sweep,
    refused,
    said,
)
from tests.helpers.commands import verb
from tests.helpers.killed import killed_at

pytestmark = pytest.mark.slow


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    make_outputs(tmp_path / "outputs")
    return tmp_path / "outputs"


def gone(told: dict[str, Any]) -> set[str]:
    """The last letter of the runs that would go."""
    return {path[-1] for path in told["moves"]}


def test_sizes_are_told_by_run_and_by_kind(outputs: Path) -> None:
    (outputs / "evaluations" / "a").mkdir(parents=True)
    (outputs / "evaluations" / "a" / "files.parquet").write_bytes(bytes(70))
    (outputs / "demo_data" / "codes_demo").mkdir(parents=True)
    (outputs / "demo_data" / "codes_demo" / "codes.arrow").write_bytes(bytes(80))
    run = sorted((outputs / "toy").iterdir())[0]
    (run / "train.log").write_text("12345")
    (run / "wandb").mkdir()
    (run / "wandb" / "x").write_text("123")
    lines = {line["name"]: line["num_bytes"] for line in clean(outputs)["lines"]}
    found = lines[f"toy/{run.name}"]
    assert (found["checkpoints"], found["samples"], found["logs"], found["trackers"]) == (CHECKPOINT, SAMPLE, 5, 3)
    assert sum(found.values()) == sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert (lines["evaluations"]["other"], lines["demo_data"]["caches"]) == (70, 80)


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ((), {"1", "2", "3", "4"}),
        (("keep_best=1",), {"2", "3", "4"}),
        (("keep_best=2",), {"3", "4"}),
        (("keep_last=1",), {"1", "2", "3"}),
        (("keep_last=2", "keep_best=1"), {"2"}),
        (("keep_tagged=true",), {"1", "4"}),
        (("keep_tagged=[kept]",), {"1", "3", "4"}),
        (("keep_younger=30d",), {"1", "3", "4"}),
    ],
)
def test_rules_keep_and_without_apply_nothing_changes(rules: tuple[str, ...], wanted: set[str], outputs: Path) -> None:
    runs = sorted((outputs / "toy").iterdir())
    verb("tag", str(runs[1]), "kept").succeeded()
    verb("tag", str(runs[2]), "other").succeeded()
    aged(runs[2])
    before = files_of(outputs)
    told = clean(outputs, *NO_RULE, *rules)
    assert gone(told) == wanted
    assert told["would_free"] == sum(
        path.stat().st_size for run in runs if run.name[-1] in wanted for path in run.rglob("*") if path.is_file()
    )
    assert files_of(outputs) == before
    assert not (outputs / ".trash").exists()
    assert all(line["why"] or line["goes"] for line in told["lines"])


def test_what_nobody_can_rank_stays(outputs: Path) -> None:
    metrics = next((outputs / "toy").glob("*4")) / "metrics.jsonl"
    metrics.write_text("")
    assert gone(clean(outputs, *NO_RULE, "keep_best=1")) == {"2", "3"}
    next((outputs / "toy").glob("*3")).joinpath("metrics.jsonl").write_text("{\n")
    assert gone(clean(outputs, *NO_RULE, "keep_best=1")) == {"2"}


def test_what_was_cleaned_is_put_back_exactly(outputs: Path) -> None:
    before = files_of(outputs)
    told = clean(outputs, *NO_RULE, "keep_best=1", "apply=true")
    assert {path.name[-1] for path in (outputs / "toy").iterdir()} == {"1"}
    assert told["left"] == []
    assert "3 put back" in verb("clean", str(outputs), f"undo={told['trash']}").succeeded().out
    assert files_of(outputs) == before
    assert Trash(outputs).ids() == []
    assert "has nothing" in refused("clean", outputs, "undo=last")


def test_the_trash_is_deleted_for_good_and_no_run_of_it_is_found(outputs: Path) -> None:
    printed = verb("clean", str(outputs), *NO_RULE, "keep_last=2", "apply=true").succeeded().out
    assert "2 moved to" in printed
    lines = json.loads(verb("status", str(outputs), "format=json").succeeded().out)
    assert {line["run"][-1] for line in lines} == {"3", "4"}
    index = Index(outputs)
    index.refresh()
    assert {row["path"][-1] for row in index.changes("", [])["rows"]} == {"3", "4"}
    assert clean(outputs, *NO_RULE, "keep_last=2")["moves"] == []
    assert "in the trash" in verb("clean", str(outputs), *NO_RULE).succeeded().out
    verb("clean", str(outputs), "empty=true").succeeded()
    assert {path.name for path in (outputs / ".trash").iterdir()} == {".lock"}
    assert {path.name[-1] for path in (outputs / "toy").iterdir()} == {"3", "4"}


def test_of_a_sweep_the_winners_stay_and_the_others_lose_their_large_parts(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweeps" / "rates" / "2026-01-01_10-00-00-abcdef")
    make_run(sweep / "dddddd", 9, "failed")
    said(sweep / "bbbbbb", state="pruned")
    row = {"job": 3, "hash": "dddddd", "overrides": ["seed=9"], "run_dir": "dddddd", "state": "failed", "num_jobs": 4}
    text = (sweep / "ledger.jsonl").read_text().replace('"num_jobs": 3', '"num_jobs": 4')
    rows = [json.loads(line) | {"sha256": None} for line in text.splitlines()]
    plain = [{key: value for key, value in item.items() if key != "sha256"} for item in [*rows, row]]
    (sweep / "ledger.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in plain))
    before = files_of(tmp_path)
    told = clean(tmp_path, *NO_RULE, "keep_winners=1", "apply=true")
    base = f"sweeps/rates/{sweep.name}"
    assert set(told["moves"]) == {f"{base}/{job}/{part}" for job in ("bbbbbb", "cccccc")
                                  for part in ("checkpoints", "samples")}  # fmt: skip
    assert told["would_free"] == 2 * (CHECKPOINT + SAMPLE)
    assert (sweep / "aaaaaa" / "checkpoints" / "best_model.pt").exists()
    assert [item.hash for item in Sweep.open(sweep).to_run()] == ["dddddd"]  # no more than before
    assert {row.hash: row.state for row in Sweep.open(sweep).look()}["bbbbbb"] == "pruned"
    verb("clean", str(tmp_path), "undo=last").succeeded()
    changed = {name for name, known in files_of(tmp_path).items() if before.get(name) != known}
    assert changed <= {f"{base}/ledger.jsonl", f"{base}/.ledger.lock"}  # which were looked at


def test_a_sweep_without_a_job_to_keep_goes_as_a_whole(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweeps" / "rates" / "2026-01-01_10-00-00-abcdef")
    before = files_of(tmp_path)
    assert clean(tmp_path, *NO_RULE, "keep_last=1")["moves"][0].endswith("/checkpoints")
    told = clean(tmp_path, *NO_RULE, "apply=true")
    assert told["moves"] == [str(sweep.relative_to(tmp_path))]
    assert not sweep.exists()
    verb("clean", str(tmp_path), "undo=last").succeeded()
    assert files_of(tmp_path) == before


def test_a_clean_and_an_undo_that_were_killed_are_finished(outputs: Path) -> None:
    before, third = files_of(outputs), sorted((outputs / "toy").iterdir())[2].name
    killed_at("os.rename", f"*/files/toy/{third}", ["clean", str(outputs), *NO_RULE, "apply=true"])
    assert {path.name[-1] for path in (outputs / "toy").iterdir()} == {"3", "4"}
    assert gone(clean(outputs, *NO_RULE)) == {"3", "4"}
    killed_at("os.rename", f"*/toy/{third[:9]}2*", ["clean", str(outputs), "undo=last"])
    assert {path.name[-1] for path in (outputs / "toy").iterdir()} == {"1", "3", "4"}
    assert "1 put back" in verb("clean", str(outputs), "undo=last").succeeded().out
    assert files_of(outputs) == before
    killed_at("os.rename", f"*/files/toy/{third}", ["clean", str(outputs), *NO_RULE, "apply=true"])
    assert gone(clean(outputs, *NO_RULE, "apply=true")) == {"3", "4"}
    assert len(Trash(outputs).ids()) == 2
    for _ in range(2):
        verb("clean", str(outputs), "undo=last").succeeded()
    assert files_of(outputs) == before


def test_a_trash_that_was_deleted_in_part_is_deleted_and_never_put_back(outputs: Path) -> None:
    ident = clean(outputs, *NO_RULE, "apply=true")["trash"]
    trash = outputs / ".trash"
    (trash / ident).rename(trash / f"{ident}.deleting")
    (trash / f"{ident}.deleting" / "manifest.json").unlink()
    assert "has nothing" in refused("clean", outputs, f"undo={ident}")
    (trash / "of a person").mkdir()
    verb("clean", str(outputs), "empty=true").succeeded()
    assert {path.name for path in trash.iterdir()} == {".lock", "of a person"}
