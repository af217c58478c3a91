"""Attempts to have the wrong thing moved, put back or deleted: all are refused, and the reason is told."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from snac_exp.cleaning import usage
from snac_exp.cleaning.plan import moves_of
from snac_exp.cleaning.survey import survey
from snac_exp.cleaning.trash import Trash
from snac_exp.lineage.chain import LINEAGE_FILE, Link
from snac_exp.lineage.drawing import without_places
from snac_exp.lineage.parents import Parent
from snac_exp.system.folder_lock import locked
from snac_exp.system.owner import Owner
from snac_exp.tracking.run_folder import RunFolder
from tests.cleaning.outputs import (
    ELSEWHERE,
    NO_RULE,
    aged,
    clean,
    files_of,
    make_run,
    make_sweep,
    queue_says,
    refused,
    said,
    why,
)
from tests.helpers.commands import verb

pytestmark = pytest.mark.slow
IN_SLURM = replace(ELSEWHERE, slurm_job_id="7")


def test_a_run_that_is_held_stays(outputs: Path, run: Path) -> None:
    with RunFolder(run).locked():
        assert "held by process" in why(outputs, run)
    assert why(outputs, run) == ""


UNENDED: dict[str, tuple[Callable[[Path], object], str]] = {
    "runs here": (lambda run: said(run, Owner.me(), state="running"), "it is running"),
    "runs elsewhere": (lambda run: said(run, ELSEWHERE, state="running"), "it is running"),
    "saved": (lambda run: said(run, state="preempted"), "can be resumed"),
    "waits": (lambda run: said(run, state="queued", heartbeat=2e9), "it is queued"),
    "never begun": (lambda run: said(run, state="queued"), "never begun"),
    "failed in a job that nobody knows": (lambda run: said(run, IN_SLURM, state="failed"), "nobody knows what became"),
    "no status": (lambda run: (run / "status.json").unlink(), "nobody knows who runs it"),
    "damaged status": (lambda run: (run / "status.json").write_text("{"), "status.json is damaged"),
    "damaged lock": (lambda run: (run / ".lock").write_text("{"), "is damaged and does not say who"),
    "another name": (lambda run: run.rename(run.parent / "my best"), "not called, as a run does by itself"),
}


@pytest.mark.parametrize("kind", UNENDED)
def test_a_run_that_may_go_on_or_cannot_be_judged_stays(kind: str, outputs: Path, run: Path) -> None:
    change, reason = UNENDED[kind]
    change(run)
    there = next(path for path in (outputs / "toy").iterdir() if not path.name.endswith("2"))
    assert reason in why(outputs, there)
    assert len(clean(outputs, *NO_RULE, "apply=true")["moves"]) == 1
    assert there.exists()


def test_a_holder_on_another_machine_keeps_a_run_that_says_it_is_finished(outputs: Path, run: Path) -> None:
    (run / ".lock").write_text(str(ELSEWHERE.as_dict()).replace("'", '"').replace("None", "null"))
    assert "held by process" in why(outputs, run)


@pytest.mark.parametrize(
    ("state", "queue", "reason"),
    [
        ("failed", "RUNNING", "job 7 is RUNNING"),
        ("finished", "COMPLETING", "job 7 is COMPLETING"),
        ("running", "REQUEUED", "job 7 is REQUEUED"),
        ("running", "", "nobody knows what became of job 7"),
        ("running", "CANCELLED", ""),
        ("failed", "FAILED", ""),
    ],
)
def test_the_queue_decides_of_runs_on_other_machines(
    state: str, queue: str, reason: str, outputs: Path, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said(run, IN_SLURM, state=state)
    queue_says(tmp_path / "bin", queue, monkeypatch)
    found = why(outputs, run)
    assert reason in found
    assert bool(reason) == bool(found)


def test_runs_that_others_refer_to_stay(outputs: Path, run: Path) -> None:
    name = run.relative_to(outputs)

    def names(path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    exported = json.dumps(without_places(Link("", Parent("run", str(run.resolve())))).to_json())
    written = (
        names(outputs / "comparisons" / "a" / "comparison.md", f"- toy: `{run}`\n"),
        names(
            outputs / "evaluations" / "b" / "summary.json", f'{{"source": "/moved/{name}/checkpoints/best_model.pt"}}'
        ),
        names(outputs / "models" / "mine" / LINEAGE_FILE, exported),
        names(outputs / "toy" / "list.txt", run.name),
    )
    for path in written:
        assert f"{path.relative_to(outputs)} refers to it" in why(outputs, run)
        path.unlink()
    assert why(outputs, run) == ""
    notebook = names(outputs.parent / "notebook" / "README.md", f"from {name}, and others")
    assert why(outputs, run) == ""
    assert "README.md refers to it" in why(outputs, run, notebook.parent)
    moves = clean(outputs, *NO_RULE, f"referrers=['{notebook.parent}']")["moves"]
    assert [move[-1] for move in moves] == ["2"]
    (outputs / "best").symlink_to(run / "checkpoints")
    assert "best refers to it" in why(outputs, run)
    (outputs / "best").unlink()
    (outputs.parent / "named").symlink_to(run)
    there = outputs.parent / "named" / "checkpoints" / "best_model.pt"
    make_run(outputs / "toy" / "2026-01-09_10-00-00-000009", 9, values={"init_from": str(there)})
    assert "config.yaml refers to it" in why(outputs, run)


def test_a_job_of_a_sweep_that_others_refer_to_stays_and_its_own_sweep_does_not_count(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweeps" / "rates" / "2026-01-01_10-00-00-abcdef")
    (sweep / "driver.txt").write_text(f"{sweep}/bbbbbb\n")
    assert len(clean(tmp_path, *NO_RULE)["moves"]) == 1
    (tmp_path / "note.md").write_text(f"sweeps/rates/{sweep.name}/bbbbbb is good")
    moves = clean(tmp_path, *NO_RULE)["moves"]
    assert {move.split("/")[3] for move in moves} == {"aaaaaa", "cccccc"}
    (sweep / "cccccc" / "made_from.json").write_text(f'"{sweep}/aaaaaa"')
    assert {move.split("/")[3] for move in clean(tmp_path, *NO_RULE)["moves"]} == {"cccccc"}


def test_a_sweep_with_a_driver_or_a_strange_ledger_stays(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweeps" / "rates" / "2026-01-01_10-00-00-abcdef")
    with locked(sweep):
        assert clean(tmp_path, *NO_RULE)["moves"] != [str(sweep.relative_to(tmp_path))]
    make_run(sweep / "eeeeee", 1)
    assert all(len(Path(move).parts) == 5 for move in clean(tmp_path, *NO_RULE)["moves"])
    text = (sweep / "ledger.jsonl").read_text()
    (sweep / "ledger.jsonl").write_text(text.replace('"run_dir": "aaaaaa"', '"run_dir": "../x"'))
    assert clean(tmp_path, *NO_RULE)["moves"] == []


def test_links_are_not_followed_and_what_they_lead_to_is_untouched(outputs: Path, run: Path, tmp_path: Path) -> None:
    outside = make_run(tmp_path / "elsewhere" / "toy" / "2026-01-01_10-00-00-00000a", 1)
    (run / "samples" / "link").symlink_to(outside)
    assert "samples/link in it leads out of it" in why(outputs, run)
    (run / "samples" / "link").unlink()
    (run / "wandb" / "logs").mkdir(parents=True)
    (run / "wandb" / "logs" / "debug-core.log").symlink_to(outside / "status.json")  # as W&B does
    (outputs / "toy" / "2026-01-05_10-00-00-00000b").symlink_to(outside)
    (outputs / "linked").symlink_to(outside.parent)
    before = files_of(outside)
    assert len(clean(outputs, *NO_RULE, "apply=true")["moves"]) == 2
    verb("clean", str(outputs), "empty=true").succeeded()
    assert files_of(outside) == before


def test_what_lies_on_another_file_system_stays(outputs: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = usage._walk

    def mounted(*given: object) -> Iterator[tuple[Path, os.stat_result]]:
        for path, known in walk(*given):  # type: ignore[arg-type]
            is_there = path.name == "checkpoints" and path.parent == run
            yield path, os.stat_result((*known[:2], known.st_dev + 1, *known[3:])) if is_there else known

    monkeypatch.setattr(usage, "_walk", mounted)
    assert "checkpoints in it leads out of it" in why(outputs, run)


def test_a_folder_that_gets_its_name_meanwhile_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / ".samples.tmp"
    written.mkdir()
    (tmp_path / "status.json").write_text("{}")
    scandir = os.scandir

    def renamed(folder: Path) -> object:
        if folder == written:
            written.rename(tmp_path / "samples")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", renamed)
    assert sum(usage.usage_of(tmp_path).num_bytes.values()) == 2


def test_only_an_outputs_folder_is_cleaned(outputs: Path, run: Path, tmp_path: Path) -> None:
    sweep = make_sweep(outputs / "sweeps" / "rates" / "2026-01-01_10-00-00-abcdef")
    for folder in (run, run / "samples", sweep, sweep / "aaaaaa"):
        assert "give the outputs folder" in refused("clean", folder, "apply=true")
    for folder in (tmp_path, outputs / "toy", Path("/")):
        assert "no outputs folder" in refused("clean", folder, "apply=true")
    clean(outputs, *NO_RULE, "apply=true")
    assert "give the outputs folder" in refused("clean", outputs / ".trash", "empty=true")


def test_a_run_that_was_begun_after_the_look_stays(outputs: Path, run: Path) -> None:
    other = make_run(outputs / "toy" / "2026-01-03_10-00-00-000003", 3)
    found = survey(outputs, [])
    said(other, ELSEWHERE, state="running")  # where its lock is not seen
    with RunFolder(run).locked():
        ident, left = Trash(found.outputs).take(moves_of(found))
    assert [line.partition(": ")[0][-1] for line in left] == ["1", "3"]
    assert run.exists()
    assert other.exists()
    assert [path.name[-1] for path in Trash(found.outputs).undo(ident)] == ["2"]
    assert Trash(found.outputs).ids() == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["keep_younger=7"], "is no duration"),
        (["keep_last=-1"], "must be 0 or more"),
        (["keep_bets=1"], "did you mean 'keep_best'"),
        (["metric=val/level"], "choose one"),
        (["apply=true", "empty=true"], "go alone"),
        (["referrers=[nowhere]"], "no such folder"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: list[str], reason: str, outputs: Path) -> None:
    assert reason in refused("clean", aged(outputs), *options)


def test_a_tag_that_no_run_has_protects_nothing_in_silence(outputs: Path, run: Path) -> None:
    verb("tag", str(run), "kept").succeeded()
    before = files_of(outputs)
    for value, text in (("[keept]", "no run has the tag 'keept'; did you mean 'kept'"), ("[]", "names no tag")):
        done = verb("clean", str(outputs), *NO_RULE, f"keep_tagged={value}", "apply=true")
        assert done.status == 2
        assert text in done.err
    assert files_of(outputs) == before
