"""What scenarios on a real SLURM use: a recipe of seconds, commands as a user types them, what became of their jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.status.overview import Line, overview
from snac_exp.system.process import code_environment, without_slurm
from snac_exp.system.slurm_queue import job_states
from snac_exp.tracking.metrics_file import read_metrics

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


def look(sweep: Path) -> list[Line]:
    """What `snac-exp status` shows, without starting a process for it."""
    return overview(sweep)


def states(sweep: Path) -> list[str]:
    return [line.state for line in look(sweep)]


def wait_for(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def has_trained(run_dir: Path, steps: int = 1) -> bool:
    metrics = run_dir / "metrics.jsonl"
    return metrics.exists() and metrics.read_text().count('"train"') >= steps


@contextmanager
def paused(run_dir: Path) -> Iterator[int]:
    """The run stands still from its first steps on, so that it cannot be over before it is asked to stop."""
    wait_for(lambda: has_trained(run_dir))
    pid: int = json.loads((run_dir / "status.json").read_text())["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def has_been_sent(pid: int, number: int) -> bool:
    """Whether a signal waits for a process that stands still; SLURM may have set it going with it."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    facts = dict(line.split(":", 1) for line in text.splitlines())
    return not facts["State"].strip().startswith("T") or bool(int(facts["ShdPnd"], 16) >> (number - 1) & 1)


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def slurm_state(job: str) -> str:
    return job_states([job])[job]


def steps_of(run_dir: Path) -> list[int]:
    return [line["step"] for line in read_metrics(run_dir) if line["kind"] == "train"]


def final(run_dir: Path) -> Checkpoint:
    entry = json.loads((run_dir / "checkpoints/latest.json").read_text())["checkpoints"][0]
    return read_checkpoint(run_dir / "checkpoints" / entry["file"])


def submitted(tmp_path: Path, *arguments: str) -> tuple[Path, Path, str]:
    """A sweep of one job that is not waited for: its folder, the job's run folder and SLURM's number of the job."""
    done = train("-m", *arguments, *LAUNCHER, "wait=false")
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = only_sweep(tmp_path)
    (row,) = ledger(sweep)
    return sweep, sweep / row["run_dir"], row["slurm_id"]
