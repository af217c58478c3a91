"""The SLURM path without SLURM: submitit's local executor and requeue, our hand-over, a mocked clock."""

import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from snac_exp import cli
from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.errors import ConfigError
from snac_exp.status.stopping import stop
from snac_exp.sweeps import slurm
from snac_exp.sweeps import sweep as sweep_module
from snac_exp.sweeps.multirun import multirun
from snac_exp.sweeps.outcome import outcome
from snac_exp.sweeps.snapshot import take_snapshot
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.files import read_json, write_json
from snac_exp.system.process import code_environment
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.run_state import status_of
from snac_exp.tracking.sweep_folder import SweepFolder
from snac_exp.training.loop import Trainer
from tests.helpers.commands import train
from tests.helpers.waiting import GUARD_SECONDS, until
from tests.helpers.warm import COLD

ROOT = Path(__file__).parents[2]
LONGER = [
    "curriculum.stages={a: {epochs: [1, 5], segment_seconds: 0.2}}", "lr.phases.main.epochs=[2,5]",
    "trainer.validate_every_epochs=5", "checkpoint.every_epochs=5",
]  # fmt: skip


def only_sweep(tmp_path: Path) -> Sweep:
    (path,) = (tmp_path / "outputs/sweeps/tiny").iterdir()
    return Sweep(path)


def final_model(run_dir: Path) -> dict[str, torch.Tensor]:
    entry = json.loads((run_dir / "checkpoints/latest.json").read_text())["checkpoints"][0]
    model: dict[str, torch.Tensor] = read_checkpoint(run_dir / "checkpoints" / entry["file"]).model
    return model


PREEMPTED_AT_STEP_4 = """

def _log_and_be_preempted(self, *arguments, log=Trainer._log):
    log(self, *arguments)
    if self.state.step == 4:
        import os, signal
        os.kill(os.getpid(), signal.SIGUSR2)

Trainer._log = _log_and_be_preempted
"""


@pytest.mark.slow
@pytest.mark.thorough  # tests/slurm/test_slurm.py on a real SLURM; a SIGTERM in tests/end_to_end/test_resume.py
def test_preempted_and_requeued_equals_uninterrupted(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start gets SLURM's signal at step 4, by a line more in the snapshot that jobs run from."""
    loop = Path(inspect.getfile(Trainer)).relative_to(ROOT)

    def take_another(folder: SweepFolder) -> Path:
        code = take_snapshot(folder)
        with open(code / loop, "a") as file:
            file.write(PREEMPTED_AT_STEP_4)
        (code / "conf/train.yaml").write_text("nonsense: [")  # a queued job is deaf to edits of YAML
        return code

    monkeypatch.setattr(sweep_module, "take_snapshot", take_another)
    local = ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.poll_seconds=0.2"]
    assert multirun(["-m", *tiny, *LONGER, *local, "wait=false"]) == 0
    sweep = only_sweep(tmp_path)
    (row,) = sweep.rows()
    run_dir = sweep.run_dir(row)
    until(lambda: sweep.refresh()[0].state not in ("queued", "running", "preempted"), "it ends")
    (row,) = sweep.rows()
    assert (row.state, row.attempts) == ("finished", 2)

    whole = tmp_path / "whole"
    train(*tiny[:-1], *LONGER, f"output_dir={whole}").succeeded()
    (uninterrupted,) = (whole / "tiny").iterdir()
    ours, theirs = final_model(run_dir), final_model(uninterrupted)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for folder in (run_dir, uninterrupted):
        assert [line["step"] for line in read_metrics(folder) if line["kind"] == "train"] == list(range(1, 16))


STUB_ENTRY = """
import runpy
from pathlib import Path
main = runpy.run_path({stub!r})["main"]

def resume_run(run_dir):
    status = main(Path(run_dir))
    if status == 1:
        raise ValueError("told to fail")
    return status
"""


def submit_stubs(sweep: Sweep) -> tuple[int, str]:
    """Submit what is left through submitit; the snapshot that jobs run from holds a stub in place of training."""
    stub = Path(__file__).with_name("stub_job.py")
    (sweep.code / "snac_exp/verbs/training/train.py").write_text(STUB_ENTRY.format(stub=str(stub)))
    slurm.Slurm(cluster="local", poll_seconds=0.1).submit(sweep, sweep.to_run(), wait=True)
    return outcome(sweep)


@pytest.mark.slow
def test_an_array_of_four_with_one_that_fails(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep("finish", "raise", "finish", "die")
    status, text = submit_stubs(sweep)
    assert [row.state for row in sweep.rows()] == ["finished", "failed", "finished", "lost"]
    assert status == 1
    assert "2 of 4 jobs finished" in text
    assert "job 1 (seed=1) failed: ValueError: told to fail" in text
    failed = sweep.rows()[1]
    (stderr,) = (sweep.path / "slurm" / str(failed.slurm_id)).glob("*_0_log.err")
    assert "ValueError: told to fail" in stderr.read_text()
    (sweep.run_dir(failed) / "mended").touch()
    assert submit_stubs(sweep)[0] == 1  # the last one dies again
    assert [(row.state, row.attempts) for row in sweep.rows()] == [
        ("finished", 1), ("finished", 2), ("finished", 1), ("lost", 2)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_cancelled_job_saves_is_no_success_and_can_be_taken_up(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep("sleep")
    (row,) = sweep.rows()

    def cancel() -> None:
        until(lambda: (status_of(sweep.run_dir(row)) or {}).get("state") == "running", "it runs")
        os.kill(status_of(sweep.run_dir(row))["pid"], signal.SIGTERM)  # type: ignore[index]

    canceller = threading.Thread(target=cancel)
    canceller.start()
    status, text = submit_stubs(sweep)
    canceller.join()
    assert status == 1
    assert [row.state for row in sweep.rows()] == ["preempted"]
    assert sweep.to_run() == sweep.rows()
    assert f"snac-exp sweep resume={sweep.path}" in text


FAKES = {
    "sbatch": 'cp "${!#}" "$FAKES/script"; echo "Submitted batch job 4242"',
    "srun": "exit 1",
    "squeue": 'state=PENDING; test -e "$FAKES/cancelled" && state=CANCELLED\n'
    'for task in 0 1 2 3; do echo "4242_$task|$state"; done',
    "scancel": 'echo "$@" >>"$FAKES/cancelled"',
}


SQUEUE = """
echo >>"$FAKES/polls"
state=RUNNING
test -e "$FAKES/cancelled" && state=COMPLETING && test "$(wc -l <"$FAKES/polls")" -gt 6 && state=CANCELLED
echo "42_0|$state"; echo "42_1|$state"
"""


@pytest.fixture
def slow_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM whose jobs 42_0 and 42_1 run, and which needs some time to end them; its folder."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"squeue": SQUEUE, "scancel": FAKES["scancel"]}.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("FAKES", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("snac_exp.status.stopping.POLL_SECONDS", 0.05)
    monkeypatch.setattr("snac_exp.sweeps.sweep.POLL_SECONDS", 0.05)
    return folder


@pytest.mark.slow
def test_stop_waits_until_slurm_has_ended_the_jobs(make_sweep: Callable[..., Sweep], slow_slurm: Path) -> None:
    """Jobs that have not begun to train say nothing of themselves; what SLURM still holds could not be taken up."""
    sweep = make_sweep("finish", "finish")
    sweep.submitted({row.hash: f"42_{row.job}" for row in sweep.rows()}, "slurm", time.time())
    lines, stopped = stop(sweep.path, GUARD_SECONDS)
    assert stopped
    assert [line.split(" (")[0].partition(": ")[2] for line in lines] == ["cancelled", "cancelled"]
    assert (slow_slurm / "cancelled").read_text().split() == ["42_0", "42_1"]
    assert sweep.to_run() == sweep.rows()


@pytest.mark.slow
def test_resume_waits_for_jobs_that_slurm_is_ending(make_sweep: Callable[..., Sweep], slow_slurm: Path) -> None:
    sweep = make_sweep("finish", "finish")
    sweep.submitted({row.hash: f"42_{row.job}" for row in sweep.rows()}, "slurm", time.time())
    (slow_slurm / "cancelled").touch()
    assert cli.run(["sweep", f"resume={sweep.path}"]) == 0
    assert [row.state for row in sweep.rows()] == ["finished", "finished"]


SLOW_SBATCH = """
echo >>"$FAKES/submissions"
while ! test -e "$FAKES/go"; do sleep 0.05; done
echo "Submitted batch job 4242"
"""


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [False, True], ids=["undisturbed", "asked_to_stop"])
def test_jobs_are_submitted_once_by_two_that_resume_and_their_ids_are_noted(
    make_sweep: Callable[..., Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signalled: bool
) -> None:
    sweep, fakes = make_sweep("finish", "finish"), tmp_path / "fakes"
    backend = {"target": "snac_exp.sweeps.slurm.Slurm", "parameters": {}}
    write_json(sweep.path / "sweep.json", read_json(sweep.path / "sweep.json") | {"backend": backend})
    fakes.mkdir()
    for name, text in {**FAKES, "sbatch": SLOW_SBATCH}.items():
        (fakes / name).write_text(f"#!/bin/bash\n{text}\n")
        (fakes / name).chmod(0o755)
    monkeypatch.setenv("FAKES", str(fakes))
    monkeypatch.setenv("PATH", f"{fakes}:{os.environ['PATH']}")
    command, chosen = ["sweep", f"resume={sweep.path}", "wait=false"], sweep.to_run()
    first = subprocess.Popen([COLD, "-m", "snac_exp.cli", *command], cwd=ROOT)  # its own pid holds the lock
    until((fakes / "submissions").exists, "it submits", first)
    with pytest.raises(ConfigError, match=f"is being written by process {first.pid} on"):
        cli.run(command)
    if signalled:
        first.send_signal(signal.SIGTERM)
    (fakes / "go").touch()
    assert first.wait(GUARD_SECONDS) == (75 if signalled else 0)
    assert [row.slurm_id for row in sweep.rows()] == ["4242_0", "4242_1"]
    with pytest.raises(ConfigError, match=r"job 0 \(seed=0\) was submitted .* as 4242_0; nothing was submitted twice"):
        slurm.Slurm().submit(sweep, chosen, wait=False)
    assert (fakes / "submissions").read_text() == "\n"


@pytest.mark.slow
def test_what_slurm_is_asked_for(tiny: list[str], tmp_path: Path) -> None:
    """Account and partition from conf/local, the rest from overrides; nothing of the submitting shell's own job."""
    checkout = take_snapshot(SweepFolder(tmp_path / "copy"))
    (checkout / "conf/local/slurm.yaml").write_text("account: speech\npartition: gpu\nsetup: [module load cuda]\n")
    for name, text in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    asked = [
        "partition=fast", "nodes=2", "gpus_per_node=2", "cpus_per_task=4", "timeout_min=30", "array_parallelism=3",
        "+additional_parameters.mail_type=FAIL",
    ]  # fmt: skip
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = os.environ | code_environment(checkout) | {"PATH": path, "FAKES": str(tmp_path), "SLURM_NTASKS": "9"}
    launcher = [
        "hydra/launcher=slurm",
        *(f"{item[0] * (item[0] == '+')}hydra.launcher.{item.lstrip('+')}" for item in asked),
    ]
    arguments = ["-m", *tiny, "trainer.devices=2", "seed=1,2,3,4", *launcher, "wait=false"]

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("train.py", *arguments).count("SLURM job 4242_") == 4
    script = (tmp_path / "script").read_text()
    for line in (
        "account=speech", "partition=fast", "nodes=2", "ntasks-per-node=2", "gpus-per-node=2", "cpus-per-task=4",
        "time=30", "array=0-3%3", "signal=USR2@120", "mail-type=FAIL", f"chdir={checkout}",
    ):  # fmt: skip
        assert f"#SBATCH --{line}\n" in script
    sweep = only_sweep(tmp_path)
    assert f"export PYTHONPATH={sweep.code}" in script
    assert "module load cuda" in script
    assert [row.slurm_id for row in sweep.rows()] == [f"4242_{task}" for task in range(4)]
    lines = json.loads(run("-m", "snac_exp.cli", "status", str(sweep.path), "format=json"))
    assert [(line["state"], line["slurm_state"]) for line in lines] == [("queued", "PENDING")] * 4
    assert run("-m", "snac_exp.cli", "stop", str(sweep.path)).count(": cancelled (") == 4
    assert (tmp_path / "cancelled").read_text().split() == [f"4242_{task}" for task in range(4)]
