"""What trackio reads of a run, with its own reader: every line once, over kills and resumes; in processes of their own,
since trackio looks for its folder when it is imported."""

import json
import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from snac_exp.config.limits import trackio as limits
from snac_exp.tracking.metrics_file import read_metrics
from tests.helpers.commands import python_process, verb
from tests.tracking.conftest import TRACKIO

if find_spec("trackio") is None:
    pytest.skip("needs pip install 'snac_exp[trackio]'", allow_module_level=True)

pytestmark = pytest.mark.slow
PROLOGUE = """
import json, math, os, shutil, sys
from pathlib import Path
from snac_exp.tracking.mirrors import trackio as mirror
from snac_exp.tracking.tracker import Tracker
mirror._MOST_SECONDS = math.inf  # how many rows wait is no matter of time here
folder = Path(sys.argv[1])
def opened(**options):
    return Tracker.open(folder, mode="off", trackio=True, project="tests", run_name="a/b", group="g",
                        config={"seed": 3, "lr": {"trunk": 1e-3}}, **options)
def log(tracker, *steps, factor=1.0):
    for step in steps:
        tracker.log({"train/loss": factor * step, "train/odd": math.nan}, step=step, epoch=1)
"""
READ = """
import json, sys
import trackio
from trackio.sqlite_storage import SQLiteStorage
(run,) = trackio.Api().runs(sys.argv[1])
print(json.dumps([run.name, run.config, SQLiteStorage.get_logs(sys.argv[1], run.name, run_id=run.id)]))
"""
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def run(code: str, folder: Path, **environment: str) -> Any:
    return python_process(
        "-c", PROLOGUE + code, str(folder), environment={"TRACKIO_DIR": str(folder / "db"), **OFFLINE, **environment}
    )


def read(database: Path, project: str = "tests") -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    environment = {"TRACKIO_DIR": str(database), **OFFLINE}
    done = python_process("-c", READ, project, environment=environment).succeeded()
    name, config, rows = json.loads(done.out.splitlines()[-1])
    return name, config, rows


def test_a_killed_and_resumed_training_has_every_line_once(killed_and_resumed: Path) -> None:
    _, config, rows = read(killed_and_resumed.parents[1] / TRACKIO, "snac-exp")
    assert (config["trainer"]["max_steps_per_epoch"], config["tracker"]["tags"]) == (2, ["pilot"])
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4, 5, 6, 7, 8]
    written = read_metrics(killed_and_resumed)
    assert [row["step"] for row in rows] == [line["step"] for line in written]
    for row, line in zip(rows, written, strict=True):
        for name in [name for name, value in line.items() if "/" in name and isinstance(value, int | float)]:
            assert row[name] == line[name], (line["step"], name)
    heard = [row["samples/clip0_48k"]["file_path"] for row in rows if "samples/clip0_48k" in row]
    kept = [killed_and_resumed.parents[1] / TRACKIO / "media" / path for path in heard]
    wavs = sorted((killed_and_resumed / "samples").glob("*/clip0_48k.wav"))
    assert [path.read_bytes() for path in kept] == [path.read_bytes() for path in wavs]
    assert len(kept) == 5


def test_a_killed_and_resumed_run_has_every_line_once_and_what_was_taken_back_is_replaced(tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "fixtures" / "run_v1" / "audio" / "voice00" / "utt0.flac"
    first = f"""
import soundfile
from PIL import Image
tracker = opened()
samples = folder / "samples" / "epoch001"
samples.mkdir(parents=True)
soundfile.write(samples / "clip0_48k.wav", *soundfile.read({str(sample)!r}))
Image.new("RGB", (2, 2)).save(samples / "clip0.png")
log(tracker, 1, 2)
tracker.log_media(step=2, epoch=1, directory=samples)
print(tracker.position(), flush=True)
tracker._mirrors._mirrors[0]._write()
log(tracker, 3)
tracker._mirrors._mirrors[0]._write()
log(tracker, 4)
os.kill(os.getpid(), 9)
"""
    killed = run(first, tmp_path)
    assert killed.status == -9, killed.err
    _, _, rows = read(tmp_path / "db")
    assert [row["step"] for row in rows] == [1, 2, 2, 3]  # the last one had waited for others
    position = int(killed.out.split()[-1])
    run(
        f"tracker = opened(resume_at={position})\nlog(tracker, 3, 4, factor=7.0)\ntracker.close()", tmp_path
    ).succeeded()
    name, config, rows = read(tmp_path / "db")
    assert (name, config["seed"], config["lr"], config["_Group"]) == ("a/b", 3, {"trunk": 1e-3}, "g")
    losses = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    assert losses == [(1, 1.0), (2, 2.0), (3, 21.0), (4, 28.0)]
    assert [math.isnan(row["train/odd"]) for row in rows if "train/odd" in row] == 4 * [True]
    assert len(rows) == len(read_metrics(tmp_path)) == 5
    (shown,) = [row for row in rows if "samples/clip0_48k" in row]
    kinds = {key: value for key, value in shown.items() if "/" in key}
    assert {key: value["_type"] for key, value in kinds.items()} == {
        "samples/clip0_48k": "trackio.audio",
        "pictures/clip0": "trackio.image",
    }
    copy = tmp_path / "db" / "media" / kinds["samples/clip0_48k"]["file_path"]
    assert copy.read_bytes() == (tmp_path / "samples" / "epoch001" / "clip0_48k.wav").read_bytes()
    again = f"tracker = opened(resume_at={(tmp_path / 'metrics.jsonl').stat().st_size})\ntracker.rewind({position})\n"
    run(f"{again}log(tracker, 3, factor=9.0)\ntracker.close()", tmp_path).succeeded()
    assert [row["train/loss"] for row in read(tmp_path / "db")[2] if "train/loss" in row] == [1.0, 2.0, 27.0]


def test_what_cannot_be_written_is_one_line_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("no folder")
    done = run("opened()", tmp_path)
    assert "ConfigError: trackio did not start (" in done.err
    assert "tracker.trackio=false" in done.err.splitlines()[-1]
    (tmp_path / "db").unlink()
    done = run("opened()", tmp_path, TRACKIO_STORAGE_MODE="jsonl")
    assert "set TRACKIO_DIR to a folder of this machine" in done.err.splitlines()[-1]


def test_a_project_that_trackio_would_refuse_is_refused_by_the_plan() -> None:
    for project in ("registry-x", "a_system", "speech.48k"):
        done = verb("plan", "+experiment=demo", "tracker=trackio", f"tracker.project={project}")
        assert (done.status, f"tracker.project='{project}'" in done.err) == (2, True), done
    assert verb("plan", "+experiment=demo", "tracker=trackio").status == 0


def test_the_limits_are_those_of_trackio() -> None:
    code = """
from trackio.sqlite_storage import REGISTRY_PROJECT_PREFIX, SQLiteStorage
tables = [f"_{name}" for name in SQLiteStorage._ARTIFACT_PARQUET_TABLES]
print(REGISTRY_PROJECT_PREFIX, "_system", "_configs", "_traces", *tables)
"""
    done = python_process("-c", code, environment={"TRACKIO_DIR": os.devnull, **OFFLINE}).succeeded()
    start, *ends = done.out.splitlines()[-1].split()
    assert (start, sorted(ends)) == (limits.RESERVED_START, sorted(limits.RESERVED_ENDS))
