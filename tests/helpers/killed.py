"""Kills: of a process from outside, and of a verb that ends itself at a moment of its work, when it asks for a file.

usage: python -m tests.helpers.killed EVENT GLOB VERB [ARGUMENT]…     EVENT: open, os.remove, os.rename for its new name
       python -m tests.helpers.killed Ctrl-C MOMENTS VERB [ARGUMENT]…    MOMENTS: [[EVENT, GLOB], …] in JSON, in turn
"""

import fnmatch
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snac_exp import cli
from tests.helpers.commands import Done, python_process
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


def interrupted_at(moments: Sequence[tuple[str, str]], arguments: list[str]) -> Done:
    """Run a verb as a process of its own that gets Ctrl-C at these moments: see `interrupt_at`."""
    done = python_process("-m", __name__, "Ctrl-C", json.dumps(moments), *arguments)
    assert done.out.count("Ctrl-C now") == len(moments), f"it ended with {done.status} before\n{done.err}"
    return done


def kill_at(event: str, pattern: str) -> None:
    """Have this process killed at its first `event` on a path like this."""

    def look(found: str, given: tuple[Any, ...]) -> None:
        if _is_moment(found, given, event, pattern):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def interrupt_at(moments: list[tuple[str, str]]) -> None:
    """Have this process get Ctrl-C at each of these moments, which are to come in this order and in its main thread."""

    def look(found: str, given: tuple[Any, ...]) -> None:
        if moments and _is_moment(found, given, *moments[0]):
            del moments[0]
            print("Ctrl-C now", flush=True)
            signal.raise_signal(signal.SIGINT)

    sys.addaudithook(look)


def _is_moment(found: str, given: tuple[Any, ...], event: str, pattern: str) -> bool:
    place = {"open": 0, "os.remove": 0, "os.rename": 1}
    return found == event and fnmatch.fnmatch(str(given[place[event]]), pattern)


if __name__ == "__main__":
    event, place, *verb = sys.argv[1:]
    if event == "Ctrl-C":
        interrupt_at(json.loads(place))
        sys.argv = ["snac-exp", *verb]
        cli.main()
    kill_at(event, place)
    sys.exit(cli.run(verb))
