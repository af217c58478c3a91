"""A run that outlives the terminal it was started from: no nohup, its log in the run folder."""

import re
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from snac_exp.errors import EXIT_USER_ERROR, ConfigError
from snac_exp.system.process import resume_command
from snac_exp.tracking.run_folder import RunFolder

BEGIN_SECONDS = 30.0  # in which what cannot begin says so; a run that makes its data first is let go
POLL_SECONDS = 0.1


def start_detached(values: Mapping[str, Any], overrides: list[str]) -> int:
    """Make the run folder, start its process in a session of its own, see it begin and return.

    Raises:
        ConfigError: it could not begin, for a reason to mend; the folder is gone then.
    """
    folder = RunFolder.create(values, overrides)
    command, environment = resume_command(folder.path)
    # Before the process starts: it says "running" itself, which must not be overwritten.
    folder.set_status("queued")
    with open(folder.job_log, "ab") as log:
        # A session of its own gets no SIGHUP when the terminal closes; without a stdin nothing can wait for input.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _see_it_begin(folder, process)
    print(f"process {process.pid} trains in {folder.path}")
    print(f"look: snac-exp status {folder.path}\nend:  snac-exp stop {folder.path}\nlog:  {folder.job_log}")
    return 0


def _see_it_begin(folder: RunFolder, process: "subprocess.Popen[bytes]") -> None:
    """Stay until the run has a plan, its process has ended, or the time is over."""
    end = time.monotonic() + BEGIN_SECONDS
    while not folder.plan.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    if process.returncode == EXIT_USER_ERROR and folder.has_nothing():
        log = folder.job_log.read_text(encoding="utf-8", errors="replace")
        folder.remove()
        # The last message is that with which the process ended.
        raise ConfigError(re.split(r"^\w+Error: ", log, flags=re.MULTILINE)[-1].strip())
