"""Stopping runs from outside: a signal on this machine, scancel with a signal through SLURM."""

import os
import signal
import subprocess
import time
from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.runs.overview import Line, overview
from snac_exp.runs.sweep import SWEEP_FILE
from snac_exp.runs.truth import status_of
from snac_exp.tracking.lock import holder_of
from snac_exp.tracking.owner import Owner
from snac_exp.tracking.slurm_queue import ACTIVE

ACTIVE_STATES = ("running", "queued")


def stop(folder: Path, wait_seconds: float) -> tuple[list[str], bool]:
    """Stop what is active below a folder; a line per run, and whether all of them have stopped.

    Raises:
        ConfigError: there is no run, or one runs on another machine without SLURM.
    """
    lines = overview(folder)
    if not lines:
        raise ConfigError(f"there is no run in {folder}")
    driver = holder_of(folder) if (folder / SWEEP_FILE).is_file() else None
    has_driver = driver is not None and driver.is_running_here()
    if driver is not None and has_driver:
        os.kill(driver.pid, signal.SIGTERM)  # it stops its jobs and begins no others
    for line in lines:
        if line.state in ACTIVE_STATES:
            _ask(folder / line.run, line, has_driver=has_driver)
    end = time.monotonic() + wait_seconds
    while any(line.state == "running" for line in lines) and time.monotonic() < end:
        time.sleep(0.5)
        lines = overview(folder)
    told = [f"{line.run}: {line.state}" + (f" ({line.error})" if line.error else "") for line in lines]
    return told, all(line.state != "running" for line in lines)


def _ask(run_dir: Path, line: Line, *, has_driver: bool) -> None:
    if line.slurm_id is not None and line.slurm_state in ACTIVE:
        waiting = line.state == "queued"
        subprocess.run(["scancel", *([] if waiting else ["--signal=TERM"]), line.slurm_id], check=True)
        return
    status = status_of(run_dir)
    if line.state == "queued" or status is None:
        return
    owner = Owner.of(status)
    if owner.is_running_here():
        if not has_driver:
            os.kill(owner.pid, signal.SIGTERM)
    else:
        raise ConfigError(f"{run_dir} runs as {owner}; stop it there")
