"""Folders that were moved, or that may only be read: what is asked of them is answered, or one error says the mend."""

import errno
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.data.sources.kinds import copied as of_voices
from tests.helpers import commands
from tests.helpers.old_runs import FIXTURE, copied


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A finished sweep of two jobs."""
    return copied("sweep", tmp_path)


def states(folder: Path) -> Mapping[str, str]:
    """What status says of each run."""
    done = commands.verb("status", str(folder), "format=json").succeeded()
    return {item["run"]: item["state"] for item in json.loads(done.out)}


@pytest.mark.slow
def test_a_sweep_that_may_only_be_read_has_its_status_and_is_compared(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and Path(path).resolve() != sweep)
    before = {path: path.stat().st_mtime_ns for path in sweep.rglob("*")}
    assert set(states(sweep).values()) == {"finished"}
    commands.verb("compare", str(sweep), f"output={tmp_path / 'page'}").succeeded()
    assert {path: path.stat().st_mtime_ns for path in sweep.rglob("*")} == before


@pytest.mark.slow
def test_a_job_whose_folder_was_moved_is_lost_in_the_comparison_and_hides_no_other(sweep: Path, tmp_path: Path) -> None:
    jobs = sorted(path.parent for path in sweep.glob("*/config.yaml"))
    jobs[1].rename(tmp_path / "moved")
    assert states(sweep) == {jobs[0].name: "finished", jobs[1].name: "lost"}
    commands.verb("compare", str(sweep), f"output={tmp_path / 'page'}").succeeded()
    rows = {row["run"]: row for row in pq.read_table(tmp_path / "page" / "comparison.parquet").to_pylist()}
    assert sorted(row["state"] for row in rows.values()) == ["finished", "lost"]
    assert f"its run folder is gone: {jobs[1]}" in (tmp_path / "page" / "comparison.md").read_text()
    # By itself, and beside one that stayed, it is a run as it was.
    assert states(tmp_path / "moved") == {".": "finished"}
    commands.verb("compare", str(tmp_path / "moved"), str(jobs[0]), f"output={tmp_path / 'both'}").succeeded()


def test_a_sweep_may_be_moved(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = sweep.rename(tmp_path / "elsewhere" / "it is, there")
    assert set(states(moved).values()) == {"finished"}
    done = commands.verb("sweep", f"resume={moved}").succeeded()
    assert f"2 of 2 jobs finished: {moved / 'ledger.jsonl'}" in done.out


@pytest.mark.slow
def test_audio_that_was_moved_is_asked_for_and_found_where_it_is(corpus_dir: Path, tmp_path: Path) -> None:
    of_voices(corpus_dir / "audio", tmp_path / "audio", 1)
    prepared, moved = tmp_path / "prepared", tmp_path / "moved"
    arguments = ["validation_speakers=['val_*']", "num_workers=1"]
    commands.verb("prepare", f"input={tmp_path / 'audio'}", f"output={prepared}", *arguments).succeeded()
    (tmp_path / "audio").rename(moved)
    for words in (
        ["cache-codes", f"data={prepared}", "codec=demo"],
        ["targets", f"data={prepared}", "kind=native"],
        ["evaluate", f"data={prepared}", "system=interpolate", "num_utterances=1", "max_seconds=1"],
    ):
        output = tmp_path / words[0]
        refused = commands.verb(*words, f"output={output}")
        assert refused.status == 2, refused
        assert f"audio_root: no folder {tmp_path / 'audio'}, where the files of {prepared} lay; set aud" in refused.err
        assert not output.exists()
        commands.verb(*words, f"output={output}", f"audio_root={moved}").succeeded()
    assert not pq.read_table(tmp_path / "cache-codes" / "cache_rejected.parquet").num_rows


@pytest.mark.slow
def test_what_cannot_be_written_is_told_before_the_work(
    corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tempfile.TemporaryFile

    def refused_here(*args: Any, dir: Any = None, **others: Any) -> Any:
        if dir is not None and Path(dir) == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))
        return temporary(*args, dir=dir, **others)

    monkeypatch.setattr(tempfile, "TemporaryFile", refused_here)
    data = f"data={corpus_dir / 'prepared'}"
    runs = [str(path.parent) for path in (FIXTURE / "runs").glob("*/config.yaml")]
    for words in (["evaluate", data, "codec=demo"], ["targets", data, "kind=native"], ["compare", *runs]):
        done = commands.verb(*words, f"output={tmp_path / 'new'}")
        assert done.status == 2, done
        assert f"{tmp_path / 'new'}: Permission denied; change its permissions, or give another path" in done.err
        assert "targets: " not in done.err
