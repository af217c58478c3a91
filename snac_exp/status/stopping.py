"""Stopping runs from outside: a signal on this machine, scancel with a signal through SLURM."""

import os
import signal
import subprocess
import time
from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.status.overview import Line, overview
from snac_exp.system.folder_lock import holder_of
from snac_exp.system.owner import Owner
from snac_exp.system.slurm_queue import ACTIVE, job_states
from snac_exp.tracking.run_state import status_of
from snac_exp.tracking.sweep_folder import SweepFolder

POLL_SECONDS = 0.5  # between looks at what is still active


def stop(folder: Path, wait_seconds: float) -> tuple[list[str], bool]:
    """Stop what is active below a folder; a line per run, and whether all of them are known to have stopped.

    A run that was just started in the background is asked as soon as it has begun.

    Raises:
        ConfigError: there is no run, or one runs on another machine without SLURM.
    """
    lines = overview(folder)
    if not lines:
        raise ConfigError(f"there is no run in {folder}")
    driver = holder_of(folder) if SweepFolder(folder).exists else None
    has_driver = driver is not None and driver.is_running_here()
    if driver is not None and has_driver:
        os.kill(driver.pid, signal.SIGTERM)  # it stops its jobs and begins no others
    asked: set[str] = set()
    end = time.monotonic() + wait_seconds
    while True:
        for line in lines:
            if line.run not in asked and _ask(folder / line.run, line, has_driver=has_driver):
                asked.add(line.run)
        driven = driver is not None and driver.is_running_here()
        stopped = not driven and not any(_is_active(folder / line.run, line) for line in lines)
        if stopped or time.monotonic() >= end:
            break
        time.sleep(POLL_SECONDS)
        lines = overview(folder)
    states = [
        f"{(folder / line.run).name}: {line.state}" + (f" ({line.error})" if line.error else "") for line in lines
    ]
    # What cannot be read may still run.
    return states, stopped and not any(line.state == "unreadable" for line in lines)


def _is_active(run_dir: Path, line: Line) -> bool:
    """Whether it runs, a queue holds it, or a process in the background is about to begin it."""
    if line.state == "running" or line.slurm_state in ACTIVE:
        return True
    return line.state == "queued" and line.slurm_id is None and status_of(run_dir) is not None


def _cancel(job: str, *, at_once: bool) -> None:
    """Have SLURM end a job, or tell it to save and leave; one that ended in between needs neither.

    Raises:
        ConfigError: SLURM refuses.
    """
    # A job that waits has no process yet that could take a signal.
    command = ["scancel", *([] if at_once else ["--signal=TERM"]), job]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # scancel fails for a job that is over, too; only one that still lives is a refusal.
    if done.returncode and job_states([job]).get(job) in ACTIVE:
        raise ConfigError(f"{' '.join(command)}: {done.stderr.strip()}")


def _ask(run_dir: Path, line: Line, *, has_driver: bool) -> bool:
    """Ask what is active to save and leave; whether that could be done yet."""
    if line.state not in ("running", "queued", "unreadable"):
        return False
    if line.cluster == "slurm" and line.slurm_id is not None and line.slurm_state in ACTIVE:
        _cancel(line.slurm_id, at_once=line.state == "queued")
        return True
    status = status_of(run_dir) if line.state == "running" else None
    if status is None:
        return False
    owner = Owner.from_dict(status)
    # A process number means nothing on another machine.
    if not owner.is_here:
        raise ConfigError(f"{run_dir} runs as {owner}; stop it there")
    # The driver passes its SIGTERM on to the jobs that it runs itself.
    stopped_by_driver = has_driver and line.cluster is None
    if owner.is_running_here() and not stopped_by_driver:
        os.kill(owner.pid, signal.SIGTERM)
    return True
