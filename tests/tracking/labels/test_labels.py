"""Tags and notes of afterwards: given by the verbs, to runs that go on too, shown beside those of the config."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.simulated_runs import config, write_run, write_runs
from snac_exp.config.stored import stored_yaml
from snac_exp.system.locks import try_lock
from snac_exp.tracking.labels.stored import MOST_NOTES, MOST_TAGS, StoredLabels, read_labels, update_labels
from snac_exp.tracking.run_folder import RunFolder
from tests.helpers.commands import verb
from tests.report.folders import make_run, summary
from tests.report.parsed import Page

OF_CONFIG = ["pilot", "a: 'b'"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that goes on, as this process; its config has tags."""
    path = tmp_path / "outputs" / "a" / "run"
    values = config("a") | {"tracker": {"mode": "off", "tags": OF_CONFIG}}
    write_run(path, stored_yaml(values), ["seed=1"], "running", 1, 3)
    return path


def line_of(run: Path, *options: str) -> dict[str, Any]:
    """What status says of one run."""
    (line,) = json.loads(verb("status", str(run), "format=json", *options).succeeded().out)
    return dict(line)


def refused(*arguments: object) -> str:
    """What a command that is refused says."""
    done = verb(*map(str, arguments))
    assert done.status == 2, done.out
    assert done.err.startswith("ConfigError: ")
    return done.err


def test_tags_of_the_config_and_of_afterwards_are_one(run: Path) -> None:
    assert verb("tag", str(run), "good", "pilot", "ünï-2:b").succeeded().out == f"{run}: pilot a: 'b' good ünï-2:b\n"
    assert line_of(run)["tags"] == [*OF_CONFIG, "good", "ünï-2:b"]
    verb("tag", str(run), "remove=[pilot,good]", "add=[new]").succeeded()
    assert line_of(run)["tags"] == ["a: 'b'", "ünï-2:b", "new"]
    verb("tag", str(run), "remove=a: 'b'").succeeded()
    verb("tag", str(run), "pilot").succeeded()  # one that was removed comes back
    assert verb("tag", str(run)).succeeded().out == f"{run}: pilot ünï-2:b new\n"
    assert "stored" not in (run / "config.yaml").read_text()
    assert RunFolder(run).values()["tracker"]["tags"] == OF_CONFIG


def test_letters_that_look_the_same_are_the_same(run: Path) -> None:
    verb("tag", str(run), "cafe\u0301").succeeded()
    assert line_of(run, "tag=caf\u00e9")["tags"][-1] == "caf\u00e9"
    verb("tag", str(run), "remove=cafe\u0301").succeeded()
    assert line_of(run)["tags"] == OF_CONFIG


def test_status_shows_only_runs_with_all_tags(tmp_path: Path) -> None:
    first, second, third = write_runs(tmp_path, 3, 1)
    verb("tag", str(first), str(second), "kept").succeeded()
    verb("tag", str(second), "wide").succeeded()
    verb("note", str(second), "sounds\nthin").succeeded()
    for asked, wanted in (("tag=kept", {first, second}), ("tag=[kept,wide]", {second}), ("tag=wide", {second})):
        lines = json.loads(verb("status", str(tmp_path), asked, "format=json").succeeded().out)
        assert {tmp_path / line["run"] for line in lines} == wanted
    printed = verb("status", str(tmp_path), "tag=kept").succeeded().out
    assert all(word in printed for word in (first.name[:12], "kept", "thin"))
    assert str(third.relative_to(tmp_path)) not in printed
    assert "did you mean 'kept'" in refused("status", tmp_path, "tag=kep")
    assert "tag= names no tag" in refused("status", tmp_path, "tag=")


def test_notes_are_written_shown_and_taken_away(run: Path) -> None:
    assert "no note" in verb("note", str(run)).succeeded().out
    verb("note", str(run), "lr=1e-4 was too high;\n  sibilants <b>hiss</b> ").succeeded()
    verb("note", str(run), "text=second").succeeded()
    notes = line_of(run)["notes"]
    assert [note["text"] for note in notes] == ["lr=1e-4 was too high;\n  sibilants <b>hiss</b>", "second"]
    assert all(note["time"] > 1_700_000_000 for note in notes)
    verb("note", str(run), "remove=1").succeeded()
    assert [note["text"] for note in line_of(run)["notes"]] == ["second"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tag", "RUN", "a b"], "holds ' '"),
        (["tag", "RUN", "<b>"], "holds '<' '>'"),
        (["tag", "RUN", "RUNN", "good"], "folders of runs stand before the tags"),
        (["tag", "RUN", "good", "RUN"], "folders of runs stand before the tags"),
        (["tag", "RUN", "x" * 65], "has 65 characters"),
        (["tag", "RUN", "-x"], "begins with '-'"),
        (["tag", "RUN", "a\u202eb"], "a tag has letters"),
        (["tag", "RUN", "add=[]", "remvoe=pilot"], "holds '='"),
        (["tag", "RUN", *(f"t{number}" for number in range(MOST_TAGS + 1))], f"more than the {MOST_TAGS}"),
        (["tag", "RUN", "good", "remove=[good]"], "say one of them"),
        (["tag", "RUN", "good", "remove=pilott"], "did you mean 'pilot'"),
        (["tag", "good"], "there is no folder good"),
        (["tag"], "which run?"),
        (["tag", "PARENT", "good"], "is no run folder"),
        (
            ["note", "RUN", "remov=2"],
            "there is no key 'remov'; there is text, remove. A note that looks like one: text=",
        ),
        (["note", "RUN", "one", "two"], "there is no folder 'one'"),
        (["note", "RUN", ""], "has 0 characters"),
        (["note", "RUN", "x" * 2001], "has 2001 characters"),
        (["note", "RUN", "red \x1b[31m"], "'\\x1b'"),
        (["note", "RUN", "remove=1"], "has no note"),
        (["note", "RUN", "text", "remove=1"], "say one of them"),
    ],
)
def test_what_is_no_tag_or_note_is_refused_and_nothing_written(arguments: list[str], said: str, run: Path) -> None:
    places = {"RUN": str(run), "RUNN": str(run.parent / "rnu"), "PARENT": str(run.parent)}
    assert said in refused(*(places.get(item, item) for item in arguments))
    assert not RunFolder(run).labels.exists()


def test_a_sweep_stands_for_its_jobs_and_all_are_changed_or_none(tmp_path: Path) -> None:
    paths = write_runs(tmp_path, 6, 1)
    sweep = next(path.parent for path in paths if (path.parent / "sweep.json").exists())
    jobs = [path for path in paths if path.parent == sweep]
    assert len(jobs) > 1
    verb("tag", str(sweep), "kept").succeeded()
    verb("note", str(sweep), "all of them").succeeded()
    for job in jobs:
        assert (line_of(job)["tags"][-1], line_of(job)["notes"][0]["text"]) == ("kept", "all of them")
    damaged = RunFolder(jobs[-1]).labels
    damaged.write_text(damaged.read_text().replace("kept", "kepd"))
    before = {path: path.read_bytes() for job in jobs for path in [RunFolder(job).labels]}
    for arguments in (["tag", sweep, "more"], ["tag", sweep, "remove=kept"], ["note", sweep, "more"]):
        said = refused(*arguments)
        assert f"{damaged} is damaged" in said
        assert "restore it or remove it" in said
    assert {path: path.read_bytes() for path in before} == before


DAMAGED = (
    "", "{", "[]", '{"tags": [], "removed": []}', '{"tags": [1], "removed": [], "notes": []}',
    '{"tags": [], "removed": [], "notes": [{"time": 1}]}',
)  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_damage_is_told_and_hides_nothing_else(text: str, run: Path) -> None:
    RunFolder(run).labels.write_text(text)
    line = line_of(run)
    assert (line["state"], line["error"], line["tags"]) == ("running", None, [])
    assert f"{RunFolder(run).labels} is damaged" in line["warning"]
    assert "is damaged" in refused("tag", run, "good")
    assert RunFolder(run).labels.read_text() == text


@pytest.mark.slow
def test_pages_and_tables_show_tags_and_notes(tmp_path: Path) -> None:
    one, two = (make_run(tmp_path / name, summary=summary(), clips=0) for name in ("one", "two"))
    verb("tag", str(one), "kept").succeeded()
    verb("note", str(one), "best so far").succeeded()
    verb("report", str(one)).succeeded()
    assert {"kept", "best so far"} <= {part.strip() for part in Page(one / "report.html").text.split("  ")}
    printed = verb("compare", str(one), str(two), f"output={tmp_path / 'out'}").succeeded().out
    assert all(cell in printed for cell in ("| tags |", "| kept |"))
    assert "best so far" in (tmp_path / "out" / "comparison.md").read_text()
    words = Page(tmp_path / "out" / "comparison.html").words()
    assert all(text in words for text in ("kept", "best so far"))
    RunFolder(one).labels.write_text("{")
    assert "labels.json is damaged" in refused("compare", one, two, f"output={tmp_path / 'none'}")
    verb("report", str(one)).succeeded()
    assert "labels.json is damaged" in Page(one / "report.html").words()


def test_a_run_that_goes_on_is_tagged_and_keeps_its_tags(run: Path) -> None:
    folder = RunFolder(run)
    with folder.locked():
        folder.begin()
        verb("tag", str(run), "good").succeeded()
        folder.set_status("running", step=7)
    folder.begin()  # as a resume does
    moved = run.rename(run.parent / "moved")
    assert line_of(moved)["tags"] == [*OF_CONFIG, "good"]


def test_no_change_of_several_at_once_is_lost(run: Path) -> None:
    folder, busy = RunFolder(run), list[str]()

    def looked(labels: StoredLabels) -> StoredLabels:
        with open(folder.labels_lock, "a") as file:
            busy.append(try_lock(file.fileno()))
        return labels.noted("first")

    update_labels(folder, looked)
    threads = [threading.Thread(target=_tag_often, args=(folder, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert busy == ["busy"]
    assert {*read_labels(folder).tags} == {f"t{number}-{count}" for number in range(4) for count in range(5)}


def _tag_often(folder: RunFolder, number: int) -> None:
    for count in range(5):
        _tag(folder, f"t{number}-{count}")


def _tag(folder: RunFolder, tag: str) -> None:
    update_labels(folder, lambda labels: labels.tagged([], [tag], []))


def test_notes_have_a_bound(run: Path) -> None:
    full = StoredLabels(notes=tuple(StoredLabels().noted(str(number)).notes[0] for number in range(MOST_NOTES)))
    update_labels(RunFolder(run), lambda _: full)
    assert f"{MOST_NOTES} notes are all" in refused("note", run, "more")
    assert yaml.safe_load(RunFolder(run).labels.read_text())["notes"][-1]["text"] == str(MOST_NOTES - 1)
