"""A run that outlives the terminal it was started from: no nohup, its log in the run folder."""

import subprocess
from collections.abc import Mapping
from typing import Any

from snac_exp.system.process import resume_command
from snac_exp.tracking.run_folder import RunFolder


def start_detached(values: Mapping[str, Any], overrides: list[str]) -> int:
    """Make the run folder, start its process in a session of its own and return."""
    folder = RunFolder.create(values, overrides)
    command, environment = resume_command(folder.path)
    # Before the process starts: it says "running" itself, which must not be overwritten.
    folder.set_status("queued")
    with open(folder.job_log, "ab") as log:
        # A session of its own gets no SIGHUP when the terminal closes; without a stdin nothing can wait for input.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    print(f"process {process.pid} trains in {folder.path}")
    print(f"look: snac-exp status {folder.path}\nend:  snac-exp stop {folder.path}\nlog:  {folder.job_log}")
    return 0
