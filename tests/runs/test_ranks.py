"""Two ranks train one run: rank 0 writes, rank 1 does not."""

import json
from pathlib import Path

import pytest

from snac_exp.runs import ranks
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.run_folder import RunFolder, SilentRunFolder
from snac_exp.tracking.silent import SilentConsole, SilentTracker
from tests.helpers.commands import python_process, train_process

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
