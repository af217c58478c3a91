"""A sweep's jobs do not harm each other, its ledger is true, and going on with it touches only what is left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from snac_exp import cli
from snac_exp.errors import ConfigError, guarded
from snac_exp.sweeps import driver
from snac_exp.sweeps import local_pool as pool
from snac_exp.sweeps.job_state import best_of
from snac_exp.sweeps.local_pool import Pool
from snac_exp.sweeps.outcome import outcome
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.files import write_json
from snac_exp.system.folder_lock import locked
from snac_exp.tracking.run_state import status_of
from tests.helpers.waiting import GUARD_SECONDS, until
from tests.helpers.warm import COLD

MakeSweep = Callable[..., Sweep]


def states(sweep: Sweep) -> list[str]:
    return [json.loads(line)["state"] for line in (sweep.path / "ledger.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_failing_job_leaves_its_siblings_alone_and_is_named(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("finish", "raise", "exit", "die", "vanish", "finish")
    Pool(processes=2).submit(sweep, sweep.rows(), wait=True)
    assert states(sweep) == ["finished", "failed", "lost", "lost", "failed", "finished"]
    status, text = outcome(sweep)
    assert status == 1
    assert "2 of 6 jobs finished" in text
    assert "job 1 (seed=1) failed: ValueError: told to fail" in text
    assert "job 3 (seed=3) lost" in text
    assert "the process ended with status 3" in text
    assert "best val/objective: 0.5 by job 0" in text
    assert [row.best for row in sweep.rows()][:4] == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.slow
def test_resume_runs_what_failed_and_leaves_what_finished(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep("finish", "raise", "finish")
    Pool(processes=1).submit(sweep, sweep.rows()[:2], wait=True)  # interrupted before the third
    assert states(sweep) == ["finished", "failed", "queued"]
    finished = (sweep.path / sweep.rows()[0].run_dir / "status.json").read_bytes()
    (sweep.run_dir(sweep.rows()[1]) / "mended").touch()
    assert cli.run(["sweep", f"resume={sweep.path}"]) == 0
    assert "3 of 3 jobs finished" in capsys.readouterr().out
    assert [row.attempts for row in sweep.rows()] == [1, 2, 1]
    assert (sweep.path / sweep.rows()[0].run_dir / "status.json").read_bytes() == finished
    assert cli.run(["sweep", f"resume={sweep.path}"]) == 0
    assert [row.attempts for row in sweep.rows()] == [1, 2, 1]
    assert run(["sweep", f"resume={sweep.path}", "seed=3"]) == 2  # jobs are those of the ledger
    assert "seed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_driver_asked_to_stop_lets_its_jobs_save(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("sleep", "finish")
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import stub_job\n"
        "from snac_exp.sweeps import local_pool as pool; from snac_exp.sweeps.sweep import Sweep\n"
        "pool.resume_command = stub_job.stub_command; sweep = Sweep(Path(sys.argv[2]))\n"
        "pool.Pool(processes=1).submit(sweep, sweep.rows(), wait=True)"
    )
    folder = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", code, folder, str(sweep.path)], stderr=subprocess.PIPE)
    until(lambda: (status_of(sweep.run_dir(sweep.rows()[0])) or {}).get("state") == "running", "it runs", process)
    with pytest.raises(ConfigError, match="is being written by process"):
        Pool(processes=1).submit(sweep, sweep.rows(), wait=True)
    assert cli.run(["stop", str(sweep.path), f"wait_seconds={GUARD_SECONDS}"]) == 0
    with locked(sweep.path):  # the driver has gone by now, so the sweep can be taken up at once
        assert process.wait(GUARD_SECONDS) != 0
    sweep.refresh()
    assert states(sweep) == ["preempted", "queued"]


@pytest.mark.slow
def test_the_same_sweep_is_refused_unless_asked_for_again(make_sweep: MakeSweep, tmp_path: Path) -> None:
    from snac_exp.config.compose import compose_experiment
    from snac_exp.sweeps.jobs import Job
    from snac_exp.sweeps.settings import SweepSettings

    overrides = [f"output_dir={tmp_path}", "tracker.mode=off"]
    experiment, values = compose_experiment(overrides)
    job = Job(0, overrides, [], experiment, values, 4, 16, 0.1)
    backend = {"target": "snac_exp.sweeps.local_pool.Pool", "parameters": {}}
    first = Sweep.create([job], SweepSettings(), backend, [], again=False)
    first.add([job])
    with pytest.raises(ConfigError, match="an identical sweep exists already"):
        Sweep.create([job], SweepSettings(), backend, [], again=False)
    second = Sweep.create([job], SweepSettings(), backend, [], again=True)
    assert second.path != first.path
    assert first.add([job])[0].hash == job.hash  # attached, not doubled
    assert len(first.rows()) == 1


@pytest.mark.slow
def test_a_pool_is_bounded_and_each_job_has_a_device(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep("finish", "finish", "finish")
    seen: list[str] = []
    popen = subprocess.Popen

    def spy(*arguments: object, **options: dict[str, str]) -> "subprocess.Popen[bytes]":
        if "env" in options:
            seen.append(options["env"]["CUDA_VISIBLE_DEVICES"])
        return popen(*arguments, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "Popen", spy)
    Pool(devices=[5, 7]).submit(sweep, sweep.rows(), wait=True)
    assert sorted(seen[:2]) == ["5", "7"]
    assert len(seen) == 3
    assert states(sweep) == ["finished"] * 3


@pytest.mark.slow
def test_status_tells_a_lost_run_from_a_running_one(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = make_sweep("sleep", "die")
    processes = []
    for row in sweep.rows():
        command, environment = pool.resume_command(sweep.run_dir(row))
        processes.append(subprocess.Popen([COLD, *command[1:]], env=environment))  # of the pid that is told
    processes[1].wait(GUARD_SECONDS)
    running = sweep.run_dir(sweep.rows()[0])
    until(lambda: (status_of(running) or {}).get("state") == "running", "it runs", processes[0])
    until(lambda: best_of(running, sweep.settings) is not None, "it has measured", processes[0])
    said = (status_of(running) or {}) | {"seconds_left": 500.0}
    write_json(running / "status.json", said)
    asked = time.time()
    assert cli.run(["status", str(sweep.path.parent), "format=json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    ages = asked - said["heartbeat"], time.time() - said["heartbeat"]
    assert [line["state"] for line in lines] == ["running", "lost"]
    assert 500 - ages[1] <= lines[0]["eta_seconds"] <= 500 - ages[0]  # what it said, less its age
    assert lines[1]["error"].startswith(f"process {processes[1].pid} on ")
    assert lines[0]["best"] == 0.5
    assert ages[0] <= lines[0]["heartbeat_seconds"] <= ages[1]
    assert cli.run(["status", str(sweep.path)]) == 0
    assert "lost" in capsys.readouterr().out
    os.kill(processes[0].pid, signal.SIGTERM)
    assert processes[0].wait(GUARD_SECONDS) == 75


def run(arguments: list[str]) -> int:
    """A verb as the command line runs it."""
    return guarded(lambda: cli.run(arguments))


DAMAGED = "{ damaged\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["sweep.json", "ledger.jsonl", "JOB/status.json", "JOB/metrics.jsonl", "JOB/plan.json"]
)
@pytest.mark.parametrize("text", [DAMAGED, "{}\n"])
def test_a_damaged_file_is_named_and_hides_nothing_else(
    name: str, text: str, make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, other = make_sweep("finish"), make_sweep("sleep")
    Pool().submit(sweep, sweep.rows(), wait=True)
    path = sweep.path / name.replace("JOB", sweep.rows()[0].run_dir)
    path.write_text(text if name != "JOB/metrics.jsonl" else f'{text.strip()}, "kind": "validation"\n')
    capsys.readouterr()
    assert run(["status", str(sweep.path.parent), "format=json"]) == 0
    lines = {line["sweep"] or line["run"]: line for line in json.loads(capsys.readouterr().out)}
    assert lines.pop(str(other.path))["state"] == "queued"
    ((_, line),) = lines.items()
    if (name, text) == ("JOB/plan.json", "{}\n"):
        assert line["state"] == "finished"
        return
    assert line["state"] == "unreadable"
    assert str(path.relative_to(sweep.path)) in line["error"]
    assert run(["stop", str(sweep.path), "wait_seconds=1"]) == 1
    assert path.name in capsys.readouterr().out
    status = run(["sweep", f"resume={sweep.path}"])
    if path.parent == sweep.path:
        assert status == 2
        assert path.name in capsys.readouterr().err
    else:  # a status without its facts is written anew; the other files are not needed to know that it has finished
        assert status == int((path.name, text) == ("status.json", DAMAGED))


@pytest.mark.slow
def test_a_run_folder_that_was_deleted_is_made_again(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("finish", "finish")
    Pool().submit(sweep, sweep.rows(), wait=True)
    gone = sweep.run_dir(sweep.rows()[1])
    config = (gone / "config.yaml").read_bytes()
    shutil.rmtree(gone)
    assert [(row.state, row.error) for row in sweep.refresh()] == [
        ("finished", None), ("lost", f"its run folder is gone: {gone}")
    ]  # fmt: skip
    assert run(["sweep", f"resume={sweep.path}"]) == 0
    assert states(sweep) == ["finished", "finished"]
    assert (gone / "config.yaml").read_bytes() == config


@pytest.mark.slow
@pytest.mark.parametrize("wait", ["true", "false"])
def test_without_its_snapshot_a_sweep_does_not_run_other_code(
    wait: str, make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep("finish")
    shutil.rmtree(sweep.code)
    assert run(["sweep", f"resume={sweep.path}", f"wait={wait}"]) == 2
    assert f"{sweep.code}, the code that the jobs of this sweep run, is gone" in capsys.readouterr().err
    assert states(sweep) == ["queued"]


@pytest.mark.slow
def test_a_driver_that_cannot_begin_is_told_of(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "BEGIN_SECONDS", GUARD_SECONDS)
    sweep = make_sweep("finish")
    with (
        locked(sweep.path),
        pytest.raises(ConfigError, match=rf"ended at once \(.*process {os.getpid()} on .*driver.log"),
    ):
        Pool().submit(sweep, sweep.rows(), wait=False)


@pytest.mark.parametrize("words", [["stop", "wait_seconds=x"], ["status", "every_seconds=-1", "watch=true"]])
def test_seconds_are_numbers(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([words[0], str(tmp_path), *words[1:]]) == 2
    assert f"{words[1]} is no number of seconds" in capsys.readouterr().err
