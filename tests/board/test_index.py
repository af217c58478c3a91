"""The index of a folder of runs: it reads what changed, tells readers that alone, and shows damage without breaking."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulated_runs import config, touch, write_run, write_runs
from snac_exp.board import growing
from snac_exp.board.index import Index
from snac_exp.config.stored import stored_yaml
from snac_exp.status.overview import overview
from snac_exp.tracking.labels.stored import update_labels
from snac_exp.tracking.run_folder import RunFolder


def rows_of(index: Index, since: str = "", *metrics: str) -> dict[str, dict[str, Any]]:
    """The rows that a reader is told, by path."""
    return {row["path"]: row for row in index.changes(since, metrics)["rows"]}


def rewrite(path: Path, text: str) -> None:
    """Other text in a file, at another time too: several writes may fall into one step of the system's clock."""
    later = path.stat().st_mtime_ns + 1_000_000_000
    path.write_text(text)
    os.utime(path, ns=(later, later))


def refreshed(index: Index) -> Index:
    index.refresh()
    return index


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "run"
    write_run(path, stored_yaml(config("a")), ["+experiment=demo", "seed=1"], "running", 1, 4)
    return path


@pytest.mark.slow
def test_rows_say_what_status_says(tmp_path: Path) -> None:
    write_runs(tmp_path, 34, 3)
    rows = rows_of(refreshed(Index(tmp_path)))
    lines = overview(tmp_path)
    assert set(rows) == {line.run for line in lines}
    for line in lines:
        row = rows[line.run]
        assert (row["state"], row["error"], row["warning"], row["step"], row["num_steps"], row["best"]) == (
            line.state, line.error, line.warning, line.step, line.num_steps, line.best,
        )  # fmt: skip
        assert row["speed"] == line.audio_seconds_per_second
        assert (row["left"] is None) == (line.eta_seconds is None)
        assert row["recipe"] == Path(row["path"]).parts[0] or row["sweep"] is not None
    assert {row["state"] for row in rows.values()} >= {"finished", "running", "failed"}
    assert {row["warning"] for row in rows.values()} == {None, "head_48k is 14.0 dB below its target"}


def test_a_second_look_reads_only_what_was_added(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = refreshed(Index(run.parent))
    token, num_lines = index.changes("", [])["token"], rows_of(index)["run"]["lines"]
    read: list[int] = []
    parse = growing.complete_lines
    monkeypatch.setattr(
        growing, "complete_lines", lambda path, text: read.append(text.count(b"\n")) or parse(path, text)
    )
    index.refresh()
    assert read == []
    touch(run, 1)
    index.refresh()
    assert read == [1]
    assert rows_of(index, token)["run"]["lines"] == num_lines + 1


def test_a_reader_is_told_what_changed_since_it_asked(tmp_path: Path) -> None:
    paths = write_runs(tmp_path, 12, 2)  # all finished
    index = refreshed(Index(tmp_path))
    first = index.changes("", ["val/objective", "no/such"])
    assert first["is_full"]
    assert len(first["rows"]) == 12
    assert "val/objective" in first["names"]
    assert all(row["values"]["val/objective"] == row["best"] for row in first["rows"])
    second = index.changes(refreshed(index).changes(first["token"], [])["token"], [])
    assert (second["is_full"], second["rows"], second["gone"], second["names"]) == (False, [], [], None)
    touch(paths[1], 1)
    assert set(rows_of(refreshed(index), first["token"])) == {os.path.relpath(paths[1], tmp_path)}
    assert index.changes("other-7", [])["is_full"]
    assert index.changes("x", [])["is_full"]


def test_a_run_that_is_resumed_from_an_earlier_checkpoint_is_read_anew(run: Path) -> None:
    index, metrics = refreshed(Index(run.parent)), run / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    changed = [line.replace('"train/loss"', '"train/other"') for line in lines[2:]]
    # As long as before, with other lines: nothing but what stands before the place that was reached tells.
    others = [
        json.dumps({key: value for key, value in json.loads(line).items() if key != "line_sha256"}) for line in changed
    ]
    rewrite(metrics, "".join(lines[:2]) + "".join(f"{line}\n" for line in [*others, *others]))
    index.refresh()
    assert rows_of(index)["run"]["lines"] == 2 + 2 * len(others)
    assert "train/other" in index.changes("", [])["names"]


def test_a_last_line_without_its_end_waits(run: Path) -> None:
    index, metrics = Index(run.parent), run / "metrics.jsonl"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole[:-10])
    assert rows_of(refreshed(index))["run"]["lines"] == whole.count(b"\n") - 1
    metrics.write_bytes(whole)
    assert rows_of(refreshed(index))["run"]["lines"] == whole.count(b"\n")
    assert rows_of(index)["run"]["state"] == "running"


@pytest.mark.parametrize("name", ["metrics.jsonl", "status.json", "config.yaml", "overrides.yaml"])
def test_a_damaged_file_is_named_in_its_run_alone(name: str, tmp_path: Path) -> None:
    paths = write_runs(tmp_path, 4, 2)
    index = refreshed(Index(tmp_path))
    whole = (paths[1] / name).read_text()
    rewrite(paths[1] / name, whole.replace("a", "b", 3))
    for _ in range(2):
        rows = rows_of(refreshed(index))
        bad = rows.pop(os.path.relpath(paths[1], tmp_path))
        assert bad["state"] == "unreadable"
        assert name in bad["error"]
        assert {row["state"] for row in rows.values()} == {"finished"}
    rewrite(paths[1] / name, whole)
    assert {row["state"] for row in rows_of(refreshed(index)).values()} == {"finished"}


def test_a_damaged_sweep_is_a_row_that_says_so(tmp_path: Path) -> None:
    write_runs(tmp_path, 4, 2)
    (ledger,) = tmp_path.rglob("ledger.jsonl")
    text = ledger.read_text()
    for damaged in (text[:-20], text.replace('"run_dir": "', '"run_dir": "../')):
        ledger.write_text(damaged)
        rows = rows_of(refreshed(Index(tmp_path))).values()
        assert sum(row["state"] == "finished" for row in rows) == 2
        bad = [row for row in rows if row["state"] == "unreadable"]
        assert bad
        assert "ledger.jsonl" in bad[0]["error"]


def test_runs_come_and_go(tmp_path: Path) -> None:
    paths = write_runs(tmp_path, 3, 2)
    index = refreshed(Index(tmp_path))
    token = index.changes("", [])["token"]
    lost = next(
        run for run, path in ((row["id"], row["path"]) for row in rows_of(index).values()) if "12-00-00" not in path
    )
    gone = next(path for path in paths if os.path.relpath(path, tmp_path) == index.entry(lost).path)
    gone.rename(tmp_path / "new")
    told = refreshed(index).changes(token, [])
    assert told["gone"] == [lost]
    assert [row["path"] for row in told["rows"]] == ["new"]
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    tmp_path.rmdir()
    told = refreshed(index).changes("", [])
    assert (told["rows"], told["problem"]) == ([], f"there is no folder {tmp_path} any more")


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path, run: Path) -> None:
    shown, outside = run.parent, tmp_path / "outside"
    write_run(outside / "other", stored_yaml(config("b")), [], "finished", 1, 2)
    (shown / "link").symlink_to(outside / "other")
    os.mkfifo(shown / "pipe")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(outside / "other" / "metrics.jsonl")
    rows = rows_of(refreshed(Index(shown)))
    assert set(rows) == {"run"}
    assert "leads out of" in rows["run"]["error"]
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")
    assert "no regular file" in rows_of(refreshed(Index(shown)))["run"]["error"]


@pytest.mark.slow
def test_the_board_changes_nothing(tmp_path: Path) -> None:
    write_runs(tmp_path, 20, 2)
    before = {path: (os.stat(path).st_mtime_ns, os.stat(path).st_ino) for path in tmp_path.rglob("*")}
    refreshed(refreshed(Index(tmp_path)))
    assert {path: (os.stat(path).st_mtime_ns, os.stat(path).st_ino) for path in tmp_path.rglob("*")} == before


def test_a_file_of_many_pieces_is_read_to_its_end(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = run / "metrics.jsonl"
    size = metrics.stat().st_size
    monkeypatch.setattr(growing.GrowingMetrics.read, "__defaults__", (-(-size // 4),))
    assert rows_of(refreshed(Index(run.parent)))["run"]["lines"] == metrics.read_bytes().count(b"\n")
    monkeypatch.setattr(growing.GrowingMetrics.read, "__defaults__", (size,))
    assert rows_of(refreshed(Index(run.parent)))["run"]["lines"] == metrics.read_bytes().count(b"\n")
    monkeypatch.setattr(growing.GrowingMetrics.read, "__defaults__", (50,))
    assert "a line of over 50 bytes" in rows_of(refreshed(Index(run.parent)))["run"]["error"]


def test_tags_are_those_of_the_config(tmp_path: Path) -> None:
    tagged = config("a") | {"tracker": {"mode": "off", "tags": ["pilot", "a: 'b'", "1"]}}
    for name, values in (("tagged", tagged), ("plain", config("a")), ("none", {"name": "a"})):
        write_run(tmp_path / name, stored_yaml(values), [], "finished", 1, 2)
    rows = rows_of(refreshed(Index(tmp_path)))
    assert {name: row["tags"] for name, row in rows.items()} == {
        "tagged": ["pilot", "a: 'b'", "1"],
        "plain": [],
        "none": [],
    }
    assert {row["recipe"] for row in rows.values()} == {"a"}


def test_tags_and_notes_of_afterwards_are_shown_and_their_damage_hides_nothing(run: Path) -> None:
    index, labels = refreshed(Index(run.parent)), RunFolder(run).labels
    token = index.changes("", [])["token"]
    update_labels(RunFolder(run), lambda labels: labels.tagged([], ["kept", "b"], []).noted("first").noted("second"))
    row = rows_of(refreshed(index), token)["run"]
    assert (row["tags"], row["notes"], row["error"]) == (["kept", "b"], ["first", "second"], None)
    labels.write_text(labels.read_text().replace("second", "other"))
    row = rows_of(refreshed(index))["run"]
    assert (row["tags"], row["notes"], row["state"]) == ([], [], "running")
    assert row["error"].startswith("run/labels.json is damaged")
