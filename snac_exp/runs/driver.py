"""A process that sees a sweep through, with the code of the sweep's snapshot, from where the sweep was begun."""

import signal
import subprocess
import sys
from types import FrameType

from snac_exp.runs.command import resume_command
from snac_exp.runs.sweep import Sweep

LOG_FILE = "driver.log"
FORWARDED = (signal.SIGINT, signal.SIGTERM)


def run_driver(sweep: Sweep, *arguments: str, wait: bool) -> int:
    """Start `python -m ARGUMENTS`; returns its exit status, or 0 at once where it is left to itself."""
    _, environment = resume_command(sweep.path, sweep.code)
    command = [sys.executable, "-m", *arguments]
    if wait:
        process = subprocess.Popen(command, env=environment, cwd=sweep.directory, start_new_session=True)
        return _forwarding_signals(process)
    log = sweep.path / LOG_FILE
    with open(log, "ab") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=sweep.directory, stdout=file, stderr=file, start_new_session=True
        )
    print(f"process {process.pid} runs the jobs; its output goes to {log}")
    return 0


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
