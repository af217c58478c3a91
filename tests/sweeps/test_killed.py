"""Sweeps on this machine whose command or job is killed: nothing is lost, doubled or left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snac_exp import cli
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.files import read_json, write_json
from snac_exp.tracking.run_state import status_of
from snac_exp.verbs.training.train import main
from tests.helpers.commands import ROOT
from tests.helpers.killed import kill
from tests.helpers.variants import thorough
from tests.helpers.waiting import until

MakeSweep = Callable[..., Sweep]
NEVER = ("open", "/nowhere")


def driver(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sweeps.killed_driver", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL
    )


def states(sweep: Sweep) -> list[tuple[str, int]]:
    return [(row.state, row.attempts) for row in sweep.refresh()]


def state_of(sweep: Sweep, job: int) -> str | None:
    return (status_of(sweep.run_dir(sweep.rows()[job])) or {}).get("state")


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("point", [("os.rename", "*/sweeps/tiny/2*"), *thorough((("open", "*/.overrides.yaml.*"),))])
def test_one_that_is_killed_before_it_is_whole_is_begun_again_without_a_trace(
    point: tuple[str, str], tiny: list[str], tmp_path: Path, stub_jobs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-m", *tiny, "seed=1,2", "tracker.tags=[finish]"]
    parent = tmp_path / "outputs" / "sweeps" / "tiny"
    assert driver(*point, *command).wait() == -signal.SIGKILL
    assert leftovers(parent)
    assert cli.run(["status", str(tmp_path / "outputs")]) == 0
    assert "there is no run in" in capsys.readouterr().out
    assert main(command) == 0
    (path,) = parent.iterdir()
    assert states(Sweep(path)) == [("finished", 1), ("finished", 1)]
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, *thorough(1)], ids=["local_processes", "one_by_one"])
def test_a_killed_driver_leaves_its_jobs_at_work_and_a_killed_job_is_begun_again(
    processes: int, make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep("sleep", "sleep", "finish")
    parameters = {"processes": processes, "show_output": processes == 1}
    stored = read_json(sweep.sweep_file)
    write_json(sweep.sweep_file, stored | {"backend": stored["backend"] | {"parameters": parameters}})
    resume = f"resume={sweep.path}"
    process = driver(*NEVER, resume)
    # Jobs that work side by side begin in either order.
    until(lambda: {state_of(sweep, job) for job in range(processes)} == {"running"}, "they run", process)
    assert kill(process) == -signal.SIGKILL
    assert states(sweep) == [("running", 1)] * processes + [("queued", 0)] * (3 - processes)
    if processes == 1:
        (sweep.run_dir(sweep.rows()[1]) / "mended").touch()
    assert cli.run(["sweep", resume]) == 1  # does what is left, and leaves alone what is at work
    assert states(sweep) == [("running", 1), ("finished" if processes == 1 else "running", 1), ("finished", 1)]
    for job in range(processes):
        folder = sweep.run_dir(sweep.rows()[job])
        os.kill((status_of(folder) or {})["pid"], signal.SIGKILL)
        until(lambda job=job: states(sweep)[job][0] == "lost", "it is known to be lost")  # type: ignore[misc]
        (folder / "mended").touch()
    capsys.readouterr()
    assert cli.run(["sweep", resume]) == 0
    assert "3 of 3 jobs finished" in capsys.readouterr().out
    assert states(sweep) == [("finished", 1 + (job < processes)) for job in range(3)]
    assert leftovers(sweep.path) == []
