"""The real thing: arrays, failures, time limits, preemption, cancelling, requeueing, two ranks; status throughout.

`make test-slurm` starts a SLURM on this machine and runs this; without SNAC_EXP_TEST_SLURM=1 nothing is submitted.
"""

import json
import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch

from snac_exp.data.prepared.manifest import Manifest
from snac_exp.sweeps.snapshot import take_snapshot
from snac_exp.tracking.sweep_folder import SweepFolder
from tests.slurm.scenario import (
    LAUNCHER,
    final,
    has_been_sent,
    has_trained,
    ledger,
    look,
    only_sweep,
    paused,
    recipe,
    slurm,
    slurm_state,
    states,
    steps_of,
    submitted,
    train,
    verb,
    wait_for,
)

pytestmark = pytest.mark.skipif(
    os.environ.get("SNAC_EXP_TEST_SLURM") != "1", reason="needs a SLURM: make test-slurm sets one up and runs these"
)
STATE = os.environ.get("SLURM_TEST_DIR", "/var/lib/slurm-test")


@pytest.fixture
def places(corpus_dir: Path, tmp_path: Path) -> list[str]:
    """Where the data is and where the outputs go."""
    return [f"data.cache_dir={corpus_dir / 'prepared' / 'codes_demo'}", f"output_dir={tmp_path / 'outputs'}"]


def test_an_array_of_four_with_one_that_fails(places: list[str], tmp_path: Path) -> None:
    rates = "lr.phases.warmup.groups.head_48k=1e-4,2e-4,1e30,4e-4"
    done = train("-m", *recipe(2), *places, rates, *LAUNCHER, "hydra.launcher.array_parallelism=2")
    assert done.returncode == 1, done.stderr
    assert "job 2 (lr.phases.warmup.groups.head_48k=1e+30) failed" in done.stdout
    sweep = only_sweep(tmp_path)
    rows = ledger(sweep)
    assert [row["state"] for row in rows] == ["finished", "finished", "failed", "finished"]
    # A job says that it has finished before its process has ended and SLURM knows of it.
    ends = ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    wait_for(lambda: [slurm_state(row["slurm_id"]) for row in rows] == ends)
    assert "DivergenceError" in rows[2]["error"]
    (stderr,) = (sweep / "slurm" / rows[2]["slurm_id"]).glob("*_0_log.err")
    assert "Traceback" in stderr.read_text()
    assert "DivergenceError" in json.loads((sweep / rows[2]["run_dir"] / "status.json").read_text())["error"]
    again = verb("sweep", f"resume={sweep}")
    assert again.returncode == 1
    assert [row["attempts"] for row in ledger(sweep)] == [1, 1, 2, 1]


def test_a_time_limit_requeues_and_the_end_is_bit_equal(places: list[str], tmp_path: Path) -> None:
    sweep, run_dir, job = submitted(tmp_path, *recipe(20), *places, "tracker.mode=offline")
    with paused(run_dir) as pid:
        done = verb("status", str(sweep), "format=json")
        (line,) = json.loads(done.stdout)
        assert (line["state"], line["slurm_state"]) == ("running", "RUNNING")
        minutes = int(time.time() - ledger(sweep)[0]["submitted"]) // 60 + 2  # less than signal_delay_s from now
        slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
        wait_for(lambda: has_been_sent(pid, signal.SIGUSR2))
    wait_for(lambda: slurm_state(job) == "PENDING")
    assert states(sweep) == ["queued"]
    slurm("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    assert json.loads((run_dir / "status.json").read_text())["stopped_by"] == "SIGUSR2"
    assert 0 < steps_of(run_dir)[-1] < 60
    wait_for(lambda: states(sweep) == ["finished"])
    assert ledger(sweep)[0]["attempts"] == 2
    whole = train(*recipe(20), places[0], f"output_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    (uninterrupted,) = (tmp_path / "whole/tiny").iterdir()
    ours, theirs = final(run_dir), final(uninterrupted)
    assert all(torch.equal(ours.model[name], value) for name, value in theirs.model.items())
    assert steps_of(run_dir) == steps_of(uninterrupted) == list(range(1, 61))
    begun = {path.name.rpartition("-")[2] for path in run_dir.glob("wandb/offline-run-*")}
    assert begun == {(run_dir / "wandb_id").read_text().strip()}  # one W&B run over both starts


def test_preemption_requeues(places: list[str], tmp_path: Path) -> None:
    everything = [
        "hydra.launcher.partition=scavenge",
        "hydra.launcher.cpus_per_task=8",
        "hydra.launcher.timeout_min=60",
    ]
    sweep, run_dir, job = submitted(tmp_path, *recipe(20), *places, *everything)
    with paused(run_dir) as pid:
        slurm("sbatch", "--partition=cpu", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 1")
        wait_for(lambda: has_been_sent(pid, signal.SIGUSR2))
    wait_for(lambda: slurm_state(job) == "PENDING")
    assert json.loads((run_dir / "status.json").read_text())["stopped_by"] == "SIGUSR2"
    wait_for(lambda: states(sweep) == ["finished"])
    assert ledger(sweep)[0]["attempts"] == 2
    assert steps_of(run_dir) == list(range(1, 61))


def test_scancel_saves_is_no_success_and_can_be_taken_up(places: list[str], tmp_path: Path) -> None:
    limited = [*LAUNCHER, "hydra.launcher.array_parallelism=1", "wait=false"]
    assert train("-m", *recipe(20), *places, "seed=1,2", *limited).returncode == 0
    sweep = only_sweep(tmp_path)
    first, second = ledger(sweep)
    with paused(sweep / first["run_dir"]):
        assert states(sweep) == ["running", "queued"]
        slurm("scancel", first["slurm_id"], second["slurm_id"])
    wait_for(lambda: slurm_state(first["slurm_id"]) == "CANCELLED")
    assert states(sweep) == ["cancelled", "cancelled"]
    saved = json.loads((sweep / first["run_dir"] / "status.json").read_text())
    assert (saved["state"], saved["stopped_by"]) == ("preempted", "SIGTERM")
    done = verb("sweep", f"resume={sweep}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(row["state"], row["attempts"]) for row in ledger(sweep)] == [("finished", 2), ("finished", 1)]
    assert steps_of(sweep / first["run_dir"]) == list(range(1, 61))


def test_edits_after_submission_do_not_reach_a_queued_job(places: list[str], tmp_path: Path) -> None:
    checkout = take_snapshot(SweepFolder(tmp_path / "copy"))
    held = [*LAUNCHER, "+hydra.launcher.additional_parameters.hold=true", "wait=false"]
    asked = ["timeout_min=7", "cpus_per_task=2", "gpus_per_node=1", "mem_gb=2", "partition=cpu"]
    done = train("-m", *recipe(2), *places, *held, *(f"hydra.launcher.{item}" for item in asked), root=checkout)
    assert done.returncode == 0, done.stderr
    sweep = only_sweep(tmp_path)
    (row,) = ledger(sweep)
    for name in ("conf/train.yaml", "conf/codec/demo.yaml", "snac_exp/__init__.py", "train.py"):
        (checkout / name).write_text("nonsense [")
    assert [(line.state, line.slurm_state) for line in look(sweep)] == [("queued", "PENDING")]
    known = slurm("scontrol", "show", "job", row["slurm_id"])
    for text in ("Partition=cpu", "TimeLimit=00:07:00", "CPUs/Task=2", "TresPerNode=gres:gpu:1", "JobName=tiny"):
        assert text in known
    slurm("scontrol", "release", row["slurm_id"])
    wait_for(lambda: states(sweep) not in (["queued"], ["running"]))
    assert states(sweep) == ["finished"]


def test_two_tasks_train_one_run(places: list[str], tmp_path: Path) -> None:
    done = train("-m", *recipe(2), *places, "trainer.devices=2", *LAUNCHER)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = only_sweep(tmp_path)
    (row,) = ledger(sweep)
    assert steps_of(sweep / row["run_dir"]) == list(range(1, 7))
    environment = json.loads((sweep / row["run_dir"] / "environment.json").read_text())
    assert environment["world_size"] == 2


def test_an_operators_requeue_resumes(places: list[str], tmp_path: Path) -> None:
    sweep, run_dir, job = submitted(tmp_path, *recipe(20), *places)
    with paused(run_dir):
        slurm("scontrol", "requeue", job)
    wait_for(lambda: states(sweep) == ["finished"])
    assert ledger(sweep)[0]["attempts"] == 2
    assert steps_of(run_dir) == list(range(1, 61))


def test_a_failed_node_costs_what_was_not_saved(places: list[str], tmp_path: Path) -> None:
    sweep, run_dir, job = submitted(tmp_path, *recipe(20), *places, "checkpoint.every_epochs=2")
    wait_for(lambda: has_trained(run_dir, 13))
    node = psutil.Process(int(slurm("cat", f"{STATE}/run/slurmd.pid")))
    steps = [item for item in psutil.process_iter() if item.name() == "slurmstepd" and f"[{job}." in item.cmdline()[0]]
    lost = [node, *steps, *(child for step in steps for child in step.children(recursive=True))]
    for process in lost:
        process.kill()
    psutil.wait_procs(lost, timeout=20)
    slurm("scontrol", "update", f"nodename={socket.gethostname().partition('.')[0]}", "state=down", "reason=test")
    assert (slurm_state(job), states(sweep)) == ("PENDING", ["queued"])
    slurm(str(Path(__file__).with_name("start_slurm.sh")))
    wait_for(lambda: states(sweep) == ["finished"])
    assert ledger(sweep)[0]["attempts"] == 2
    assert steps_of(run_dir) == list(range(1, 61))


def test_stop_asks_through_slurm(places: list[str], tmp_path: Path) -> None:
    sweep, run_dir, job = submitted(tmp_path, *recipe(200), *places)
    wait_for(lambda: has_trained(run_dir))
    done = verb("stop", str(sweep))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": preempted" in done.stdout
    wait_for(lambda: slurm_state(job) == "FAILED")  # it did not succeed: exit status 75
    assert states(sweep) == ["preempted"]


def test_stop_waits_for_slurm_and_what_was_stopped_can_be_taken_up_at_once(places: list[str], tmp_path: Path) -> None:
    """Jobs are stopped while they start (one deaf to it until SLURM kills it) and while they wait for their turn."""
    script = tmp_path / "slow.sh"
    script.write_text(f"test -e {tmp_path}/began || {{ touch {tmp_path}/began; trap '' TERM; sleep 100; }}\n")
    limited = [*LAUNCHER, "hydra.launcher.array_parallelism=1", f"hydra.launcher.setup=['. {script}']", "wait=false"]
    assert train("-m", *recipe(2), *places, "seed=1,2", *limited).returncode == 0
    sweep = only_sweep(tmp_path)
    wait_for((tmp_path / "began").exists)
    assert [(line.state, line.slurm_state) for line in look(sweep)] == [("queued", "RUNNING"), ("queued", "PENDING")]
    done = verb("stop", str(sweep))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": cancelled") == 2
    assert [slurm_state(row["slurm_id"]) for row in ledger(sweep)] == ["CANCELLED", "CANCELLED"]
    done = verb("sweep", f"resume={sweep}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(row["state"], row["attempts"]) for row in ledger(sweep)] == [("finished", 1), ("finished", 1)]


def test_a_search_submits_its_trials_in_batches(places: list[str], tmp_path: Path) -> None:
    space = "lr.phases.main.groups.trunk=tag(log,interval(1e-6,1e-4))"
    chosen = ["hydra/sweeper=optuna", "hydra.sweeper.num_trials=3", "hydra.sweeper.parallel=2"]
    done = train("-m", *recipe(2), *places, space, *chosen, "hydra.sweeper.startup_trials=2", *LAUNCHER)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = ledger(only_sweep(tmp_path))
    assert [row["state"] for row in rows] == ["finished"] * 3
    arrays = [row["slurm_id"].partition("_")[0] for row in rows]
    assert arrays[0] == arrays[1] != arrays[2]


def test_a_search_prunes_its_trials(places: list[str], tmp_path: Path) -> None:
    space = "lr.phases.warmup.groups.head_48k=1e-4,1.0"
    chosen = [
        "hydra/sweeper=optuna",
        "hydra.sweeper.num_trials=2",
        "hydra.sweeper.seed=1",
        "hydra.sweeper.min_trials=1",
    ]
    done = train(
        "-m",
        *recipe(2),
        "trainer.validate_every_epochs=1",
        *places,
        space,
        *chosen,
        "hydra.sweeper.pruner=asha",
        *LAUNCHER,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = only_sweep(tmp_path)
    rows = ledger(sweep)
    assert [row["state"] for row in rows] == states(sweep) == ["finished", "pruned"]
    wait_for(lambda: [slurm_state(row["slurm_id"]) for row in rows] == ["COMPLETED", "COMPLETED"])
    assert rows[1]["error"].startswith("at step 3: val/objective")
    assert steps_of(sweep / rows[1]["run_dir"]) == [1, 2, 3]


def test_verbs_run_in_shares_as_arrays(corpus_dir: Path, tmp_path: Path) -> None:
    prepared, codes = corpus_dir / "prepared", tmp_path / "codes"
    shared = ["shard.count=2", f"output_dir={tmp_path}", *LAUNCHER]
    shares = [f"data={prepared}", "codec=demo", f"output={codes}", "rows_per_shard=10"]
    done = verb("sweep", "cache-codes", *shares, *shared)
    assert done.returncode == 0, done.stdout + done.stderr
    num_rows = len(Manifest.read(prepared).rows)
    assert sum(pq.read_metadata(path).num_rows for path in codes.glob("codes-*.parquet")) == num_rows
    targets = [f"data={prepared}", "kind=resample", f"output={tmp_path / 'targets'}"]
    done = verb("sweep", "targets", *targets, *shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "targets").rglob("*.flac"))) == num_rows
