"""A process that sees a sweep through, with the code of the sweep's snapshot, from where the sweep was begun."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from snac_exp.errors import ConfigError
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.folder_lock import holder_of
from snac_exp.system.process import resume_command

BEGIN_SECONDS = 60.0  # to import what it needs and take hold of the sweep
POLL_SECONDS = 0.1
FORWARDED = (signal.SIGINT, signal.SIGTERM)


def run_driver(sweep: Sweep, *arguments: str, wait: bool) -> int:
    """Start `python -m ARGUMENTS`; returns its exit status, or 0 at once where it is left to itself.

    Raises:
        ConfigError: the snapshot is gone, or a process that is left to itself ends at once.
    """
    # First: without the snapshot the process would import whatever code is installed by now.
    sweep.refuse_lost_code()
    _, environment = resume_command(sweep.path, sweep.code)
    command = [sys.executable, "-m", *arguments]
    if wait:
        # In a session of its own, so that Ctrl-C in the terminal reaches it once, through the handler below.
        process = subprocess.Popen(command, env=environment, cwd=sweep.directory, start_new_session=True)
        return _forwarding_signals(process)
    log = sweep.driver_log
    # Appended to: what an earlier process said of this sweep stays.
    with open(log, "ab") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=sweep.directory, stdout=file, stderr=file, start_new_session=True
        )
    _see_it_begin(sweep, process, log)
    print(f"process {process.pid} runs the jobs; its output goes to {log}")
    return 0


def _see_it_begin(sweep: Sweep, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Stay until the process holds the sweep: from then on it can be asked to stop.

    Raises:
        ConfigError: it ended before.
    """
    end = time.monotonic() + BEGIN_SECONDS
    while process.poll() is None and time.monotonic() < end:
        holder = holder_of(sweep.path)
        if holder is not None and holder.pid == process.pid:
            return
        time.sleep(POLL_SECONDS)
    # Still running after the time, it is only slow; ended with 0, it had nothing to do.
    if process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise ConfigError(f"process {process.pid}, which should run the jobs, ended at once ({last}); see {log}")


def _forwarding_signals(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process; what asks this one to stop asks that one, once each (it has a session of its own)."""

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
