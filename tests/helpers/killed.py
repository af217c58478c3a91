"""Kills: of a process from outside, and of a verb that ends itself at a moment of its work, when it asks for a file.

usage: python -m tests.helpers.killed EVENT GLOB VERB [ARGUMENT]…     EVENT: open, or os.rename for its new name
"""

import fnmatch
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from snac_exp import cli
from tests.helpers.waiting import GUARD_SECONDS
from tests.helpers.warm import COLD
from tests.helpers.warm_stand_in import KILL

ROOT = Path(__file__).parents[2]


def kill(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> int:
    """Kill a process that was begun by `sys.executable`; its status once it is gone: -9, or another if it had ended.

    SIGKILL would end the stand-in of a warm process, which outlives it for a moment.
    """
    process.send_signal(signal.SIGKILL if sys.executable == COLD else KILL)
    status = process.wait(GUARD_SECONDS)
    return -signal.SIGKILL if status == -KILL else status  # a stand-in that had not begun its process yet


def killed_at(event: str, pattern: str, arguments: list[str]) -> None:
    """Run a verb as a process of its own that is killed at its first `event` (open, os.rename) on a path like this."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.killed", event, pattern, *arguments],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=GUARD_SECONDS,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, (
        f"it ended with {done.returncode} before {event} {pattern}\n{done.stderr}"
    )


def kill_at(event: str, pattern: str) -> None:
    """Have this process killed at its first `event` on a path like this."""
    place = {"open": 0, "os.rename": 1}[event]

    def look(found: str, given: tuple[Any, ...]) -> None:
        if found == event and fnmatch.fnmatch(str(given[place]), pattern):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


if __name__ == "__main__":
    kill_at(*sys.argv[1:3])
    sys.exit(cli.run(sys.argv[3:]))
