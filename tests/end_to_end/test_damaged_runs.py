"""What a run and a sweep keep in JSON: damaged it is one error that names the file and the mend, never other values."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from snac_exp.data.checked_parquet import write_parquet
from snac_exp.errors import ConfigError
from snac_exp.evaluation.folder import Evaluation, EvaluationFolder
from snac_exp.evaluation.utterance_rows import read_utterances
from snac_exp.release.files.job import Job
from snac_exp.report.run.notes import read_notes
from snac_exp.report.run.record import read_record
from snac_exp.sweeps.ledger import read_ledger, update_ledger
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.files import read_json, write_json, write_signed_json
from snac_exp.system.folder_lock import locked
from snac_exp.tracking.json_files import read_object
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import status_of
from snac_exp.tracking.sweep_folder import SweepFolder
from tests.campaigns.mutations import harmless, survives
from tests.helpers import commands
from tests.helpers.old_runs import FIXTURE, copied
from tests.helpers.variants import thorough

SIGNED = ("status.json", "plan.json", "environment.json", "summary.json")
SHAPES = ["", "[]", "null", "1", "{}", "{", "[" * 9999, '{"state": 1, "epochs": [1]}', '{"epochs": 3}', "\x00\x01"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with files as they are written now."""
    folder = copied("runs/finished", tmp_path)
    shutil.rmtree(folder / "samples")
    for name in SIGNED:
        write_signed_json(folder / name, read_json(folder / name))
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A finished sweep with files as they are written now."""
    folder = copied("sweep", tmp_path)
    for path in [folder / "sweep.json", *(folder / "jobs").glob("*.json")]:
        write_signed_json(path, read_json(path))
    update_ledger(SweepFolder(folder), lambda rows: [row for row in rows if setattr(row, "attempts", 2) is None])
    return folder


def of_record(path: Path) -> object:
    record = read_record(path.parent)
    return {"status.json": record.status, "plan.json": record.plan, "environment.json": record.environment}.get(
        path.name, record.summary
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNED)
def test_the_json_of_a_run_is_refused_or_the_same(name: str, run: Path) -> None:
    outcomes = survives(of_record, run / name, of_record(run / name), seed=0, count=25)
    assert harmless(outcomes), outcomes


def of_job(path: Path) -> object:
    return read_object(path, {"overrides": list, "values": dict})


def of_sweep(path: Path) -> object:
    opened = Sweep.open(path.parent)
    return opened.settings, opened.backend, opened.search, opened.directory


def of_ledger(path: Path) -> object:
    return [asdict(row) for row in read_ledger(SweepFolder(path.parent))]


@pytest.mark.parametrize(("name", "opened"), [("sweep.json", of_sweep), ("ledger.jsonl", of_ledger), ("jobs", of_job)])
def test_the_files_of_a_sweep_are_refused_or_the_same(name: str, opened: Callable[[Path], object], sweep: Path) -> None:
    path = next((sweep / name).glob("*")) if name == "jobs" else sweep / name
    outcomes = survives(opened, path, opened(path), seed=0, count=60)
    assert harmless(outcomes), outcomes


def test_a_ledger_that_lost_whole_lines_is_refused_and_one_that_a_person_shortened_is_read(sweep: Path) -> None:
    ledger = sweep / "ledger.jsonl"
    first, second = ledger.read_text().splitlines()
    ledger.write_text(f"{first}\n")
    with pytest.raises(ConfigError, match=r"lines are missing or were added, it has 1; restore it"):
        read_ledger(SweepFolder(sweep))
    ledger.write_text("")
    with pytest.raises(ConfigError, match="lines are missing"):
        read_ledger(SweepFolder(sweep))
    ledger.write_text(f"\n{second}\n")
    (row,) = read_ledger(SweepFolder(sweep))
    assert row.hash == json.loads(second)["hash"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [SIGNED[0], "notes.jsonl", *thorough(*SIGNED[1:], "metrics.jsonl")])
def test_verbs_name_a_file_of_another_shape(name: str, run: Path, tmp_path: Path) -> None:
    path = run / name
    for content in SHAPES:
        path.write_text(f"{content}\n")
        assert commands.verb("status", str(run.parent)).status == 0
        done = commands.verb("report", str(run))
        assert done.status == 0 or (done.status, path.name in done.err) == (2, True), done
    done = commands.verb("compare", str(run), str(FIXTURE / "runs" / "stopped"), f"output={tmp_path / 'side'}")
    assert done.status in (0, 2)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"attempts": "two"}', "\x00\x01"])
def test_a_resume_names_a_damaged_status(content: str, run: Path) -> None:
    (run / "status.json").write_text(content)
    done = commands.train(f"resume={run}")
    assert done.status == 2
    assert f"{run / 'status.json'} is damaged" in done.err


def test_damaged_notes_are_counted_in_the_report_not_hidden(run: Path) -> None:
    lines = (run / "notes.jsonl").read_text().splitlines(keepends=True)
    (run / "notes.jsonl").write_text("".join([lines[0], "{ damaged\n", *lines[1:]]))
    notes = read_notes(run, "")
    assert [(note.source, note.text) for note in notes.warnings] == [("notes.jsonl", "line 2 is damaged")]


@pytest.mark.parametrize("name", ["sweep.json", "ledger.jsonl"])
def test_sweep_verbs_name_a_file_of_another_shape(name: str, sweep: Path) -> None:
    for content in SHAPES:
        (sweep / name).write_text(f"{content}\n")
        done = commands.verb("sweep", f"resume={sweep}")
        assert done.status == 2, (content, done)
        assert name in done.err or not content  # every line left empty: no jobs
        assert commands.verb("status", str(sweep.parent), "format=json").status == 0


def test_what_a_killed_process_left_anywhere_goes_when_the_run_begins(run: Path) -> None:
    left = [run / ".status.json.abcdefgh.tmp", run / "samples" / "epoch004" / ".clip0.png.abcdefg1.tmp"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    RunFolder(run).begin()
    assert [path for path in left if path.exists()] == []
    found: Any = status_of(run)
    assert (found["state"], found["attempts"]) == ("running", 2)


def of_utterances(path: Path) -> object:
    return read_utterances(path.parent)


def of_evaluation(path: Path) -> object:
    found = Evaluation.load(path.parent)
    return found.settings, found.summary, found.rows


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("utterances.parquet", of_utterances),
        ("files.parquet", of_evaluation),
        ("summary.json", of_evaluation),
        ("job.json", of_evaluation),
    ],
)
def test_what_was_measured_is_refused_or_the_same(
    name: str, opened: Callable[[Path], object], run: Path, tmp_path: Path
) -> None:
    folder = run if opened is of_utterances else copied("evaluation", tmp_path)
    if name.endswith(".parquet"):
        write_parquet(folder / name, pq.read_table(folder / name))
    else:
        write_signed_json(folder / name, read_json(folder / name))
    outcomes = survives(opened, folder / name, opened(folder / name), seed=0, count=40)
    assert harmless(outcomes), outcomes


def test_a_damaged_note_of_what_is_done_is_done_once_more(tmp_path: Path) -> None:
    job = Job(tmp_path, {"what": "test"})
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.out").touch()
        job.record(name, "1", [f"{name}.out"])
    path = tmp_path / "files.jsonl"
    first, second, third = path.read_text().splitlines()
    path.write_text("\n".join([first.replace("a.out", "c.out"), "[1]", second, "\x00", third, ""]))
    again = Job(tmp_path, {"what": "test"})
    assert [again.is_done(name, "1") for name in ("a", "b", "c")] == [False, True, True]


def test_a_lock_that_names_nobody_is_one_error(run: Path) -> None:
    for content in ("{", "[1]", '{"host": 1}'):
        (run / ".lock").write_text(content)
        with pytest.raises(ConfigError, match=r"\.lock is damaged .*; if nobody does, remove it"), locked(run):
            pass


@pytest.mark.slow
def test_what_a_killed_verb_left_goes_when_the_verb_is_repeated(run: Path, tmp_path: Path) -> None:
    left = [run / ".report.html.abcdefgh.tmp", tmp_path / "evaluation" / ".files.parquet.abcdefgh.tmp"]
    EvaluationFolder(tmp_path / "evaluation", {"what": "test"})
    for path in left:
        path.write_bytes(b"half")
    assert commands.verb("report", str(run)).status == 0
    with EvaluationFolder(tmp_path / "evaluation", {"what": "test"}).at_work():
        pass
    assert [path for path in left if path.exists()] == []


def test_a_plan_whose_epochs_have_other_groups_is_named(run: Path) -> None:
    plan = read_json(run / "plan.json")
    plan["epochs"][1]["loss_weights"]["hfad_48k"] = plan["epochs"][1]["loss_weights"].pop("head_48k")
    write_json(run / "plan.json", plan)
    done = commands.verb("report", str(run))
    assert done.status == 2
    assert "plan.json is damaged: loss_weights of entry 2 of its epochs lacks head_48k; restore it" in done.err
