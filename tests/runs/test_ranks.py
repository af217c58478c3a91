"""Two ranks train one run: rank 0 writes, rank 1 does not."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.errors import ConfigError
from snac_exp.runs import ranks
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.run_folder import RunFolder, SilentRunFolder
from snac_exp.tracking.silent import SilentConsole, SilentTracker
from tests.helpers.browser import free_port
from tests.helpers.commands import python_process, train_process
from tests.helpers.variants import thorough
from tests.helpers.waiting import GUARD_SECONDS, until

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_processes_train_one_run_and_only_rank_0_writes(tiny: list[str], tmp_path: Path) -> None:
    train_process(*tiny, "trainer.devices=2").succeeded()
    (run_dir,) = (tmp_path / "outputs/tiny").iterdir()
    lines = read_metrics(run_dir)
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 7))  # each once
    assert [line["epoch"] for line in lines if line["kind"] == "validation"] == [0, 1, 2]
    log = (run_dir / "train.log").read_text()
    assert log.count("run folder: ") == 1
    assert json.loads((run_dir / "environment.json").read_text())["world_size"] == 2
    status = json.loads((run_dir / "status.json").read_text())
    assert (status["state"], status["attempts"]) == ("finished", 1)


def test_a_rank_that_dies_ends_the_run(tmp_path: Path) -> None:
    code = (
        "import sys, threading\nfrom pathlib import Path\nfrom snac_exp.runs import ranks\n"
        "ranks.NOTICE_SECONDS = 0.1\n"
        "ranks.resume_command = lambda _: ([sys.executable, '-c', 'raise SystemExit(3)'], {})\n"
        "with ranks.companions(Path('.'), 2, lambda why: print(why, flush=True)):\n    threading.Event().wait()"
    )
    done = python_process("-c", code)
    assert done.status == 1
    assert done.out.startswith("ranks ended without rank 0: {1: 3}")


def test_stand_ins_write_nothing(tmp_path: Path) -> None:
    tracker, console = SilentTracker(), SilentConsole(tmp_path, num_epochs=1, num_steps=1)
    tracker.log({"train/loss": 1.0}, step=1, epoch=1)
    tracker.log_media(step=1, epoch=1, directory=tmp_path)
    console.begin("plan")
    console.note("text")
    console.step(1, 1, {})
    console.end()
    folder = SilentRunFolder(tmp_path)
    with folder.locked(), tracker:
        folder.begin()
        folder.heartbeat(every_seconds=0.0)
    assert tracker.position() == 0
    assert list(tmp_path.iterdir()) == []
    for stand_in, original in ((SilentTracker, "Tracker"), (SilentConsole, "Console"), (SilentRunFolder, RunFolder)):
        base = stand_in.__base__
        assert base is original or base.__name__ == original
    public = {name for name in vars(SilentConsole.__base__) if not name.startswith("_")}
    assert public <= set(vars(SilentConsole))  # a new method of the console must be silenced too


@pytest.mark.parametrize(
    ("environment", "devices", "rank"),
    [
        ({}, 1, 0),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, 2, 1),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, 1, 0),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NUM_NODES": "2"}, 1, 0),  # a batch script
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, 1, 0),  # a surrounding job of another kind
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_NUM_NODES": "2"}, 1, 1),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "3"}, 4, 3),
    ],
)
def test_global_rank(environment: dict[str, str], devices: int, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NUM_NODES", "TORCHELASTIC_RUN_ID", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ranks.global_rank(devices) == rank


JOB = {
    **{"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODELIST": "127.0.0.1"},
    "SLURM_CONF": "/dev/null",  # a queue that is not there says so at once
}
BATCH_STEP = str(0xFFFFFFFB)
FIRST_TASK = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("batch", [{"SLURM_PROCID": "0", "SLURM_STEP_ID": BATCH_STEP}, *thorough({})])
def test_a_batch_script_without_srun_starts_its_ranks_itself(
    batch: dict[str, str], tiny: list[str], tmp_path: Path
) -> None:
    train_process(*tiny, "trainer.devices=2", environment=JOB | batch).succeeded()
    (run_dir,) = (tmp_path / "outputs/tiny").iterdir()
    assert json.loads((run_dir / "environment.json").read_text())["world_size"] == 2
    assert (RunFolder(run_dir).status() or {})["state"] == "finished"


@pytest.mark.slow
def test_the_tasks_of_a_step_train_one_run(tiny: list[str], tmp_path: Path) -> None:
    """As srun starts them: each with its number, all with the run's folder."""
    _, values = compose_experiment(hydra_overrides([*tiny, "trainer.devices=2"]))
    folder = RunFolder.create(values, [])
    port = {"MASTER_PORT": str(free_port()), "MASTER_ADDR": "127.0.0.1"}
    tasks = [
        subprocess.Popen(
            [sys.executable, "train.py", f"resume={folder.path}"], cwd=ROOT,
            env=os.environ | JOB | FIRST_TASK | port | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in (1, 0)
    ]  # fmt: skip
    assert [task.wait(GUARD_SECONDS) for task in tasks] == [0, 0]
    assert json.loads((folder.path / "environment.json").read_text())["world_size"] == 2
    assert [line["step"] for line in read_metrics(folder.path) if line["kind"] == "train"] == list(range(1, 7))


@pytest.mark.slow
def test_one_device_in_a_job_of_several_tasks_is_a_run_of_its_own(tiny: list[str], tmp_path: Path) -> None:
    train_process(*tiny, environment=JOB | FIRST_TASK | {"SLURM_NTASKS": "4"}).succeeded()
    (run_dir,) = (tmp_path / "outputs/tiny").iterdir()
    assert json.loads((run_dir / "environment.json").read_text())["world_size"] == 1


@pytest.mark.slow
def test_ranks_that_do_not_come_are_named(tiny: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom snac_exp.runs import rendezvous\nrendezvous.JOIN_SECONDS = 0.5\n"
        "from snac_exp.verbs.training.train import main\nsys.exit(main(sys.argv[1:]))"
    )
    started = JOB | FIRST_TASK | {"SLURM_NTASKS": "3", "MASTER_PORT": str(free_port())}
    done = python_process("-c", code, *tiny, "trainer.devices=3", environment=started)
    assert done.status == 2, done.err
    assert done.err.splitlines()[-1].startswith(
        "RanksMissingError: rank 0 waited 0 s, and of 3 ranks 1, 2 did not connect"
    )
    (run_dir,) = (tmp_path / "outputs/tiny").iterdir()
    status = RunFolder(run_dir).status() or {}
    assert status["state"] == "failed"
    assert "ranks 1, 2 did not connect" in status["error"]


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_ends_a_process_that_waits_for_the_other_ranks(
    rank: int, number: int, tiny: list[str], tmp_path: Path
) -> None:
    """Rank 0 waits for rank 1 to come, rank 1 for rank 0 to listen."""
    started = JOB | FIRST_TASK | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
    waiting = tmp_path / "waiting"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom snac_exp.runs import rendezvous\n"
        "class Clock:\n    monotonic = time.monotonic\n    def sleep(self, seconds):\n"
        f"        Path({str(waiting)!r}).touch(); time.sleep(seconds)\n"
        "rendezvous.time = Clock()\n"
        "from snac_exp.verbs.training.train import main\nsys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *tiny, "trainer.devices=2"], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        env=os.environ | started | {"MASTER_PORT": str(free_port()), "MASTER_ADDR": "127.0.0.1"},
    )  # fmt: skip
    until(waiting.exists, "it waits", process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 75
    assert f"{signal.Signals(number).name}: left at once" in out
    if rank == 0:
        (run_dir,) = (tmp_path / "outputs/tiny").iterdir()
        assert (RunFolder(run_dir).status() or {})["state"] == "preempted"


@pytest.mark.parametrize(
    ("environment", "devices", "message"),
    [
        (JOB | {"SLURM_JOB_NUM_NODES": "2"}, 2, "start it with srun --ntasks-per-node=2"),
        (JOB | {"SLURM_JOB_NUM_NODES": "2"}, 1, None),  # one device needs one machine
        (
            JOB | FIRST_TASK | {"SLURM_NTASKS": "4"},
            2,
            "srun started 4 tasks on 1 machines, and trainer.devices=2 are 2",
        ),
        (JOB | FIRST_TASK | {"SLURM_NTASKS": "4", "SLURM_JOB_NUM_NODES": "2"}, 2, None),
        (JOB | FIRST_TASK | {"SLURM_NTASKS": "2", "SLURM_JOB_NUM_NODES": "2", "SLURM_STEP_NUM_NODES": "1"}, 2, None),
        (JOB | {"SLURM_PROCID": "0", "SLURM_STEP_ID": BATCH_STEP}, 2, None),
        ({}, 2, None),
    ],
)
def test_what_slurm_started_is_what_the_recipe_wants(
    environment: dict[str, str], devices: int, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message) if message else nullcontext():
        ranks.check_started(devices)


@pytest.mark.thorough
def test_the_next_run_of_a_process_waits_for_nobody(tiny: list[str], tmp_path: Path) -> None:
    """A group of two that stayed would have the next run, of one rank, wait for the second without end."""
    code = (
        "import sys; from torch import distributed; from snac_exp.verbs.training.train import main\n"
        "assert main([*sys.argv[1:], 'trainer.devices=2', 'name=two']) == 0\n"
        "assert not distributed.is_initialized()\n"
        "assert main(sys.argv[1:]) == 0"
    )
    python_process("-c", code, *tiny).succeeded()
    worlds = {
        path.parents[1].name: json.loads(path.read_text())["world_size"]
        for path in (tmp_path / "outputs").glob("*/*/environment.json")
    }
    assert worlds == {"two": 2, "tiny": 1}
