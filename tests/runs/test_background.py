"""A run in the background outlives its terminal, and can be looked at and stopped; codes are cached in shares."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from snac_exp import cli
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.runs import background
from snac_exp.status import stopping
from snac_exp.status.overview import Line, overview
from snac_exp.tracking.run_state import status_of
from snac_exp.verbs.training.train import main
from tests.helpers.commands import train, train_process
from tests.helpers.waiting import GUARD_SECONDS, until


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [False, True])
def test_background_status_and_stop(
    at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub = Path(__file__).parents[1] / "sweeps" / "stub_job.py"
    monkeypatch.setattr(background, "BEGIN_SECONDS", 0)
    gate, command = tmp_path / "gate", [sys.executable, str(stub)]
    environment = os.environ | {"STUB_GATE": str(gate)}
    monkeypatch.setattr(background, "resume_command", lambda run_dir: ([*command, str(run_dir)], environment))
    assert main([f"output_dir={tmp_path}", "tracker.tags=[sleep]", "name=back", "background=true"]) == 0
    (run_dir,) = (tmp_path / "back").iterdir()
    assert f"snac-exp stop {run_dir}" in capsys.readouterr().out
    if not at_once:
        gate.touch()
        until(lambda: (status_of(run_dir) or {}).get("state") == "running", "it runs")
    assert cli.run(["status", str(tmp_path), "format=json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    expected = "queued" if at_once else "running"
    assert (line["state"], line["run"]) == (expected, str(run_dir.relative_to(tmp_path)))

    def look_and_let_it_begin(folder: Path) -> list[Line]:
        lines = overview(folder)
        gate.touch()
        return lines

    monkeypatch.setattr(stopping, "overview", look_and_let_it_begin)
    assert cli.run(["stop", str(run_dir), f"wait_seconds={GUARD_SECONDS}"]) == 0
    assert "preempted" in capsys.readouterr().out
    assert (run_dir / "job.log").exists()


@pytest.mark.slow
@pytest.mark.parametrize("several", [["background=true"], ["trainer.devices=2"]], ids=["background", "ranks"])
def test_one_that_cannot_begin_says_why_and_leaves_no_folder(
    several: list[str], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "BEGIN_SECONDS", GUARD_SECONDS)
    start = train if several == ["background=true"] else train_process  # ranks would find this process's threads
    done = start(*tiny, *several, f"data.cache_dir={tmp_path / 'nowhere'}")
    assert done.status == 2
    assert f"Error: {tmp_path / 'nowhere'}" in done.err
    assert "Traceback" not in done.err
    assert list((tmp_path / "outputs").rglob("*")) == [tmp_path / "outputs" / "tiny"]


@pytest.mark.slow
def test_codes_are_cached_in_shards(short_corpus_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared, cached = short_corpus_dir / "prepared", tmp_path / "codes"
    shares = [f"data={prepared}", f"output={cached}", "codec=demo", "rows_per_shard=3", "shard.count=2"]
    places = [f"output_dir={tmp_path}", "hydra/launcher=local_processes", "hydra.launcher.processes=2"]
    assert cli.run(["sweep", "cache-codes", *shares, *places, "dry_run=true"]) == 0
    assert capsys.readouterr().out.count("shard.count=2") == 2
    assert not cached.exists()
    done = subprocess.run(
        [sys.executable, "-m", "snac_exp.cli", "sweep", "cache-codes", *shares, *places],
        capture_output=True, text=True, timeout=GUARD_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 jobs finished" in done.stdout
    num_rows = sum(pq.read_metadata(path).num_rows for path in cached.glob("codes-*.parquet"))
    assert num_rows == len(Manifest.read(prepared).rows)
