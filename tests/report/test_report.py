"""report.html from run folders made by hand: every figure, every state, hostile names, bounded size."""

import base64
import hashlib
import itertools
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from snac_exp import cli
from snac_exp.errors import ConfigError
from snac_exp.report.run.evaluation import evaluation
from snac_exp.report.run.notes import read_notes
from snac_exp.report.run.page import write_report
from snac_exp.report.run.plan_table import plan_table
from snac_exp.report.run.record import read_record
from snac_exp.report.run.speed import step_split
from snac_exp.report.settings import differences, differs_from_defaults, text_of
from tests.report.folders import LOG, TRACEBACK, make_run, metric_lines, plan, summary, validation
from tests.report.parsed import Page


@pytest.mark.slow
def test_the_figures_of_a_run_stand_on_its_page(run_dir: Path) -> None:
    page = Page(write_report(run_dir))
    words = page.words()
    for text in (
        "toy ✓ finished", "Steps 8 of 8 epoch 2 of 2", "Time 8.0 s",
        "Best objective 2.000 step 8, 3.000 before training", "Throughput 10.0 s/s",
        "head_48k 25 % less distance above 12 kHz than plain interpolation",
        "4 whole validation utterances, 12 s of audio", "6.00 (5.50 to 6.50)",
        "STOI is undefined for 1 of the utterances", "The mean step takes 200 ms (of 8 timed",
        "data wait 50.0 ms 25.0 %", "compute 150 ms 75.0 %", "frozen 1e-3 0.3 1", "5e-5 1e-3 0.3 1",
        "+experiment=demo seed=0", "4 rows re-encode to their cached tokens: 100.00% of 1512",
        "1 warning in the log", "step 3: loss 9.1 is 4.5 times the running mean 2: step skipped",
        "lr.phases.main.groups.head_48k 1e-3 3e-3",
    ):  # fmt: skip
        assert text in words, text
    assert len(page.named("audio")) == 2 * (1 + 3 + 3)  # references once, two heads at three epochs
    assert len(page.named("figure")) == 6
    assert "Objective (, " not in words


def test_a_mixture_has_a_table_of_its_sources(tmp_path: Path) -> None:
    train = {"epoch": 1, "kind": "train"}
    lines = [
        {"step": 1, "time": 1.0, "data/rows_seen/de": 6.0, "data/rows_seen/en <b>": 2.0} | train,
        validation(1, 1, 0) | {"val/source/de/objective": 3.0},
        {"step": 2, "time": 3.0, "data/rows_seen/de": 1200.0, "data/rows_seen/en <b>": 4.0} | train,
        validation(2, 2, 0) | {"val/source/de/objective": 2.5, "val/source/en <b>/objective": 1.5},
        validation(2, 2, 0) | {"val/source/en <b>/l1": None},
    ]
    words = Page(write_report(make_run(tmp_path / "run", lines=lines, clips=0))).words()
    assert "Sources: rows seen, and the last validation figure de en <b> all rows seen 1,200 4 1,204" in words
    assert "objective 2.500 1.500 2.000 l1 \u2013 \u2013 \u2013" in words
    assert "Sources:" not in Page(write_report(make_run(tmp_path / "plain", clips=0))).words()


@pytest.mark.slow
def test_pages_need_no_network_and_carry_labels(run_dir: Path) -> None:
    path = write_report(run_dir)
    page, text = Page(path), path.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "url(" not in text
    assert "http" not in re.sub(r"http-equiv|data:[^\"]+", "", text)
    policy = next(
        tag["content"] or "" for tag in page.named("meta") if "Content-Security" in (tag.get("http-equiv") or "")
    )
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none';")
    assert all(tag.get("alt") for tag in page.named("img"))
    assert all(tag.get("aria-label") for tag in page.named("audio"))
    charts = [tag for tag in page.named("div") if tag.get("class", "").startswith("plot")]  # type: ignore[union-attr]
    assert charts
    assert all(tag.get("aria-label") and tag.get("tabindex") == "0" for tag in charts)


@pytest.mark.slow
def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run = make_run(
        tmp_path / "a'\"<img src=x onerror=alert(1)>",
        config={"name": evil, "data": {"path": f'"{evil}'}},
        overrides=[f"+experiment='{evil}'"],
        summary=summary() | {f"{evil}/l1": 1.0},
        status={"state": "failed", "error": f"{TRACEBACK}{evil}"},
        lines=[*metric_lines(), {"step": 8, "epoch": 2, "kind": "x", "time": 1.0, f"data/{evil}": 1.0}],
    )
    (run / "samples" / "epoch000" / "<b>x_48k.wav").write_bytes((run / "samples/epoch000/clip0_48k.wav").read_bytes())
    page = Page(write_report(run))
    scripts = page.named("script")
    assert len(scripts) == 1 + sum(tag.get("type") == "application/json" for tag in scripts)
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert {tag for tag, _ in page.tags} & {"b", "iframe", "object"} <= {"b"}
    assert page.text.count(evil) >= 6


@pytest.mark.slow
def test_every_state_of_a_run_has_its_page(tmp_path: Path) -> None:
    failed = Page(write_report(make_run(tmp_path / "a", status={"state": "failed", "error": TRACEBACK})))
    assert "The run failed after step 8 snac_exp.errors.DivergenceError: step 5" in failed.words()
    assert "finished = _train(experiment)" in failed.text
    running = Page(write_report(make_run(tmp_path / "b", status={"state": "running"}, lines=metric_lines()[:4])))
    assert "In progress Step 3 of 8 when this page was written" in running.words()
    assert "No summary.json yet" in running.words()
    gone = make_run(tmp_path / "c", status={"state": "running", "process_started": 1.0})
    assert "✕ lost" in Page(write_report(gone)).words()
    bare = tmp_path / "d"
    bare.mkdir()
    (bare / "config.yaml").write_text("name: bare\n")
    assert "Nothing was logged yet." in Page(write_report(bare)).words()
    quiet = make_run(tmp_path / "e", clips=0, lines=[line for line in metric_lines() if line["kind"] == "train"])
    words = Page(write_report(quiet)).words()
    assert "No clips: this run has written no samples" in words
    assert "Best objective" not in words
    with pytest.raises(ConfigError, match="is no run folder"):
        write_report(tmp_path)
    (bare / "status.json").write_text("{")
    with pytest.raises(ConfigError, match=r"status\.json is damaged .*; restore it or remove it"):
        write_report(bare)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        ("77|CANCELLED", "✕ cancelled", "cancelled before it could save; its last checkpoint stands"),
        ("77|NODE_FAIL", "✕ lost", "process 4711 on node7 ended without reporting its state; the queue says NODE_FAIL"),
        ("77|RUNNING", "running", "In progress Step 8 of 8"),
        ("77|PENDING", "queued", "The run waits for its turn."),
    ],
)
def test_slurm_is_asked_about_a_run_on_another_machine(
    answer: str, state: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\necho '{answer}'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    said = {"state": "running", "host": "node7", "pid": 4711, "slurm_job_id": "77"}
    words = Page(write_report(make_run(tmp_path / "run", status=said))).words()
    assert state in words
    assert reason in words


def long_run(folder: Path, num_steps: int) -> Path:
    numbers = np.random.default_rng(0).normal(size=num_steps)
    lines = [
        {"step": step, "epoch": 1, "kind": "train", "time": step, "train/loss": None if step == 7 else float(value)}
        for step, value in enumerate(numbers, 1)
    ]
    return make_run(folder, lines=lines, clips=0)


@pytest.mark.slow
def test_very_long_runs_make_small_pages(tmp_path: Path) -> None:
    path = write_report(long_run(tmp_path / "run", 100_000))
    assert path.stat().st_size < 120_000
    words = Page(path).words()
    assert "training: 100,000 values drawn as 479 points: means of 209, with the range from lowest to highest" in words
    assert "1 of 100,000 values not finite" in words


@pytest.mark.slow
def test_work_grows_as_the_run_does(tmp_path: Path) -> None:
    """Calls of functions, which no machine changes: ten times the steps take at most ten times as many."""
    calls = []
    for num_steps in (1_000, 10_000):
        run, counted = long_run(tmp_path / str(num_steps), num_steps), itertools.count()
        write_report(run)  # what is done once is done
        sys.setprofile(lambda _, event, __, counted=counted: next(counted) if event == "call" else None)
        write_report(run)
        sys.setprofile(None)
        calls.append(next(counted))
    assert calls[1] <= 10 * calls[0], calls


@pytest.mark.slow
def test_lines_that_are_no_json_are_told(run_dir: Path) -> None:
    with open(run_dir / "metrics.jsonl", "a") as file:
        file.write("oops\n")
    assert "1 of 12 lines of metrics.jsonl are damaged and left out." in Page(write_report(run_dir)).words()


def test_the_evaluation_marks_the_best_of_each_target() -> None:
    found = evaluation(summary(lsd=9.0))
    assert found is not None
    assert [table.title for table in found.tables] == ["Against the 48 kHz target", "Against the 24 kHz target"]
    wide, native = found.tables
    assert [column.name for column in wide.columns] == ["lsd_high_db", "l1", "stoi"]
    best = {row.key: [value is not None and value.is_best for value in row.values] for row in wide.rows}
    assert best == {"head_48k": [False, True, True], "baseline": [True, False, False]}
    assert not any(value and value.is_best for row in native.rows for value in row.values)
    assert found.headline == [
        ("head_48k", "12\N{NO-BREAK SPACE}%", "more distance above 12 kHz than plain interpolation")
    ]
    nested = evaluation({"task": "rvq_lm", "validation": {"perplexity": 60.0}, "unigram": {"perplexity": 90.0}})
    assert nested is not None
    assert [(row.name, row.values[0].text) for row in nested.tables[0].rows if row.values[0]] == [
        ("trained model", "60.0"), ("token frequencies", "90.0")
    ]  # fmt: skip
    assert evaluation({}) is None


def test_epochs_that_do_the_same_are_one_row() -> None:
    values = plan()
    values["epochs"].append(values["epochs"][1] | {"epoch": 3})
    table = plan_table(values)
    assert table is not None
    assert [(row.epochs, row.rates) for row in table.rows] == [("1", ["frozen", "1e-3"]), ("2 to 3", ["5e-5", "1e-3"])]
    assert plan_table({}) is None


def test_notes_come_from_the_log_or_from_their_own_file(tmp_path: Path) -> None:
    notes = read_notes(tmp_path, LOG)
    assert [note.text for note in notes.preflight] == [
        "head_24k equals the pretrained decoder bit for bit",
        "4 rows re-encode to their cached tokens: 100.00% of 1512",
    ]
    assert [(note.level, note.text[:6]) for note in notes.others] == [("warning", "step 3"), ("info", "SIGTER")]
    lines = [
        {"time": 1.0, "step": None, "source": "preflight", "level": "ok", "text": "preflight: aligned"},
        {"time": 2.0, "step": 7, "source": "guard", "level": "error", "text": "rolled back"},
    ]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"time": 3')
    recorded = read_notes(tmp_path, LOG)
    assert [note.text for note in recorded.preflight] == ["aligned"]
    assert [(note.step, note.level) for note in recorded.warnings] == [(7, "error")]


def test_parts_of_a_step_add_up(tmp_path: Path) -> None:
    header = {"epoch": 1, "kind": "train", "time": 1.0}
    parts = {"speed/step_seconds": 0.1, "speed/data_wait_seconds": 0.01, "speed/forward_seconds": 0.03}
    slow = {name: 9 * value for name, value in parts.items()}
    lines = [{"step": 1, **header, **slow}, {"step": 2, **header, **parts}, {"step": 3, **header, **parts}]
    split = step_split(read_record(make_run(tmp_path / "run", lines=lines, clips=0)).metrics)
    assert split is not None
    assert split.milliseconds == pytest.approx(100)
    assert {part.name: round(part.milliseconds, 6) for part in split.parts} == {
        "data wait": 10, "forward": 30, "other": 60
    }  # fmt: skip
    assert sum(part.percent for part in split.parts) == pytest.approx(100)


def test_configs_differ_in_what_differs() -> None:
    found = differences([{"a": {"b": 1, "c": 5e-5}, "d": [1, 2]}, {"a": {"b": 2, "c": 5e-5}, "e": None}])
    assert [(item.key, item.values) for item in found] == [
        ("a.b", ["1", "2"]), ("d", ["[1, 2]", "not set"]), ("e", ["not set", "null"])
    ]  # fmt: skip
    assert [text_of(value) for value in (5e-5, 1.5e-4, 0.1 + 0.2, True, {}, 0.01)] == [
        "5e-5", "1.5e-4", "0.30000000000000004", "true", "{}", "0.01"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_with_the_defaults_differs_in_nothing() -> None:
    from snac_exp.config.compose import compose_experiment

    values = compose_experiment(["seed=7"])[1]
    found, unknown = differs_from_defaults(values)
    assert unknown is None
    assert [(item.key, item.values) for item in found] == [("seed", ["0", "7"])]


@pytest.mark.slow
def test_the_verb_writes_the_reports_of_runs(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", str(run_dir), "max_megabytes=5"]) == 0
    assert f"{run_dir / 'report.html'}  0." in capsys.readouterr().out
    with pytest.raises(ConfigError, match="which run"):
        cli.run(["report"])
    with pytest.raises(ConfigError, match=r"no key 'max_megabyte'.*did you mean 'max_megabytes'"):
        cli.run(["report", str(run_dir), "max_megabyte=5"])
    with pytest.raises(ConfigError, match="there is no folder"):
        cli.run(["report", str(run_dir / "nowhere")])
