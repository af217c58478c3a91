"""The real thing: an array with a failing job, a time limit, scancel, edits while queued, two ranks, status throughout.

`make test-slurm` starts a SLURM on this machine and runs this; without SNAC_EXP_TEST_SLURM=1 nothing is submitted.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snac_exp.runs.command import code_environment, without_slurm
from snac_exp.runs.snapshot import take_snapshot
from snac_exp.tracking.slurm_queue import job_states
from snac_exp.tracking.tracker import read_metrics
from snac_exp.training.checkpoints import read_checkpoint

pytestmark = pytest.mark.skipif(os.environ.get("SNAC_EXP_TEST_SLURM") != "1", reason="make test-slurm runs these")
ROOT = Path(__file__).parents[2]
LAUNCHER = ["hydra/launcher=slurm", "hydra.launcher.poll_seconds=1"]


def recipe(num_epochs: int) -> list[str]:
    """Epochs of 3 steps, one validation and one checkpoint at the end."""
    return [
        "+experiment=phase12_dual_head", "codec=demo", "name=tiny", "tracker.mode=off", "loss.n_ffts.head_24k=[256]",
        "loss.n_ffts.head_48k=[256]", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.num_workers=1",
        "trainer.batch_size=2", "trainer.max_steps_per_epoch=3", "trainer.log_every_steps=1",
        "trainer.num_sample_clips=0", "trainer.summary_utterances=1", "data.validation_slices=2",
        "data.validation_seconds=0.3", f"trainer.validate_every_epochs={num_epochs}",
        f"checkpoint.every_epochs={num_epochs}",
        f"curriculum.stages={{a: {{epochs: [1, {num_epochs}], segment_seconds: 0.2}}}}", "~curriculum.stages.b",
        "~curriculum.stages.c", "~curriculum.stages.d", f"lr.phases.main.epochs=[2,{num_epochs}]",
    ]  # fmt: skip


@pytest.fixture
def places(corpus_dir: Path, tmp_path: Path) -> list[str]:
    """Where the data is and where the outputs go."""
    return [f"data.cache_dir={corpus_dir / 'prepared' / 'codes_demo'}", f"output_dir={tmp_path / 'outputs'}"]


def python(*arguments: str, root: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    environment = without_slurm(os.environ) | code_environment(root) | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600, check=False)


def verb(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return python("-m", "snac_exp.cli", *arguments)


def train(*arguments: str, root: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return python("train.py", *arguments, root=root)


def only_sweep(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "outputs/sweeps/tiny").iterdir()
    return path


def ledger(sweep: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (sweep / "ledger.jsonl").read_text().splitlines()]


def status(folder: Path) -> list[dict[str, Any]]:
    done = verb("status", str(folder), "format=json")
    assert done.returncode == 0, done.stderr
    lines: list[dict[str, Any]] = json.loads(done.stdout)
    return lines


def wait_for(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.5)


def has_trained(run_dir: Path, steps: int = 1) -> bool:
    metrics = run_dir / "metrics.jsonl"
    return metrics.exists() and metrics.read_text().count('"train"') >= steps


def slurm_state(job: str) -> str:
    return job_states([job])[job]


def steps_of(run_dir: Path) -> list[int]:
    return [line["step"] for line in read_metrics(run_dir) if line["kind"] == "train"]


def final(run_dir: Path) -> dict[str, Any]:
    entry = json.loads((run_dir / "checkpoints/latest.json").read_text())["checkpoints"][0]
    return read_checkpoint(run_dir / "checkpoints" / entry["file"])


def test_an_array_of_four_with_one_that_fails(places: list[str], tmp_path: Path) -> None:
    rates = "lr.phases.warmup.groups.head_48k=1e-4,2e-4,1e30,4e-4"
    done = train("-m", *recipe(2), *places, rates, *LAUNCHER, "hydra.launcher.array_parallelism=2")
    assert done.returncode == 1, done.stderr
    assert "job 2 (lr.phases.warmup.groups.head_48k=1e+30) failed" in done.stdout
    sweep = only_sweep(tmp_path)
    rows = ledger(sweep)
    assert [row["state"] for row in rows] == ["finished", "finished", "failed", "finished"]
    assert [slurm_state(row["slurm_id"]) for row in rows] == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    assert "DivergenceError" in rows[2]["error"]
    (stderr,) = (sweep / "slurm" / rows[2]["slurm_id"]).glob("*_0_log.err")
    assert "Traceback" in stderr.read_text()
    assert "DivergenceError" in json.loads((sweep / rows[2]["run_dir"] / "status.json").read_text())["error"]
    again = verb("sweep", f"resume={sweep}")
    assert again.returncode == 1
    assert [row["attempts"] for row in ledger(sweep)] == [1, 1, 2, 1]


def test_a_time_limit_requeues_and_the_end_is_bit_equal(places: list[str], tmp_path: Path) -> None:
    assert train("-m", *recipe(160), *places, *LAUNCHER, "wait=false").returncode == 0
    sweep = only_sweep(tmp_path)
    (row,) = ledger(sweep)
    run_dir, job = sweep / row["run_dir"], row["slurm_id"]
    wait_for(lambda: has_trained(run_dir))
    (line,) = status(sweep)
    assert (line["state"], line["slurm_state"]) == ("running", "RUNNING")
    subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=1"], check=True)
    wait_for(lambda: slurm_state(job) != "RUNNING")
    subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=60"], check=True)
    assert json.loads((run_dir / "status.json").read_text())["stopped_by"] == "SIGUSR2"
    assert 0 < steps_of(run_dir)[-1] < 480, "the signal came too late to mean anything"
    wait_for(lambda: ledger(sweep)[0]["state"] == "finished" or status(sweep)[0]["state"] == "finished", 300)
    (row,) = ledger(sweep)
    assert row["attempts"] == 2
    whole = train(*recipe(160), places[0], f"output_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    (uninterrupted,) = (tmp_path / "whole/tiny").iterdir()
    ours, theirs = final(run_dir), final(uninterrupted)
    assert all(torch.equal(ours["model"][name], value) for name, value in theirs["model"].items())
    assert steps_of(run_dir) == steps_of(uninterrupted) == list(range(1, 481))


def test_scancel_saves_is_no_success_and_can_be_taken_up(places: list[str], tmp_path: Path) -> None:
    limited = [*LAUNCHER, "hydra.launcher.array_parallelism=1", "wait=false"]
    assert train("-m", *recipe(60), *places, "seed=1,2", *limited).returncode == 0
    sweep = only_sweep(tmp_path)
    first, second = ledger(sweep)
    wait_for(lambda: has_trained(sweep / first["run_dir"]))
    assert [line["state"] for line in status(sweep)] == ["running", "queued"]
    subprocess.run(["scancel", first["slurm_id"], second["slurm_id"]], check=True)
    wait_for(lambda: slurm_state(first["slurm_id"]) == "CANCELLED")
    assert [line["state"] for line in status(sweep)] == ["cancelled", "cancelled"]
    saved = json.loads((sweep / first["run_dir"] / "status.json").read_text())
    assert (saved["state"], saved["stopped_by"]) == ("preempted", "SIGTERM")
    done = verb("sweep", f"resume={sweep}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(row["state"], row["attempts"]) for row in ledger(sweep)] == [("finished", 2), ("finished", 1)]
    assert steps_of(sweep / first["run_dir"]) == list(range(1, 181))


def test_edits_after_submission_do_not_reach_a_queued_job(places: list[str], tmp_path: Path) -> None:
    checkout = take_snapshot(tmp_path / "copy")
    held = [*LAUNCHER, "+hydra.launcher.additional_parameters.hold=true", "wait=false"]
    done = train("-m", *recipe(2), *places, *held, root=checkout)
    assert done.returncode == 0, done.stderr
    sweep = only_sweep(tmp_path)
    (row,) = ledger(sweep)
    for name in ("conf/train.yaml", "conf/codec/demo.yaml", "snac_exp/__init__.py", "train.py"):
        (checkout / name).write_text("nonsense [")
    assert status(sweep)[0]["slurm_state"] == "PENDING"
    subprocess.run(["scontrol", "release", row["slurm_id"]], check=True)
    wait_for(lambda: status(sweep)[0]["state"] not in ("queued", "running"))
    assert status(sweep)[0]["state"] == "finished"


def test_two_tasks_train_one_run(places: list[str], tmp_path: Path) -> None:
    done = train("-m", *recipe(2), *places, "trainer.devices=2", *LAUNCHER)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = only_sweep(tmp_path)
    (row,) = ledger(sweep)
    assert steps_of(sweep / row["run_dir"]) == list(range(1, 7))
    environment = json.loads((sweep / row["run_dir"] / "environment.json").read_text())
    assert environment["world_size"] == 2


def test_an_operators_requeue_resumes(places: list[str], tmp_path: Path) -> None:
    assert train("-m", *recipe(60), *places, *LAUNCHER, "wait=false").returncode == 0
    sweep = only_sweep(tmp_path)
    (row,) = ledger(sweep)
    run_dir = sweep / row["run_dir"]
    wait_for(lambda: has_trained(run_dir, 3))
    subprocess.run(["scontrol", "requeue", row["slurm_id"]], check=True)
    wait_for(lambda: status(sweep)[0]["state"] == "finished", 300)
    assert ledger(sweep)[0]["attempts"] == 2
    assert steps_of(run_dir) == list(range(1, 181))


def test_stop_asks_through_slurm(places: list[str], tmp_path: Path) -> None:
    assert train("-m", *recipe(60), *places, *LAUNCHER, "wait=false").returncode == 0
    sweep = only_sweep(tmp_path)
    (row,) = ledger(sweep)
    wait_for(lambda: has_trained(sweep / row["run_dir"]))
    done = verb("stop", str(sweep))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": preempted" in done.stdout
    wait_for(lambda: slurm_state(row["slurm_id"]) == "FAILED")  # it did not succeed: exit status 75
    assert status(sweep)[0]["state"] == "preempted"
