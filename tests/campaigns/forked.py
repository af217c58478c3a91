"""Trainings as processes that need not import anything: a server has, and forks one for each; SIGKILL ends one as any.

usage: python -m tests.campaigns.forked, by `Server`: a line of JSON to its input for each training, with its arguments
and its log; two lines to its output, the process and in the end its status (-9: killed).
"""

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from types import TracebackType
from typing import Any

import snac_exp
from tests.helpers.commands import ROOT
from tests.helpers.waiting import GUARD_SECONDS


class Server:
    """The server's end in this process; one training at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.forked"],
            cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, bufsize=1,
        )  # fmt: skip
        self._answer()  # it has imported all

    def train(self, arguments: list[str], log: str, killed_after: float | None = None) -> int:
        """Run a training, or kill it so many seconds after its start, unless it has ended; its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([arguments, log]) + "\n")
        pid = self._answer()
        if killed_after is not None:
            time.sleep(killed_after)
            if os.path.exists(f"/proc/{pid}"):  # it may be a zombie, whom no signal harms: the server waits when asked
                os.killpg(pid, signal.SIGKILL)
        self._process.stdin.write("wait\n")
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the server ended with {self._process.wait(GUARD_SECONDS)}"
        return int(line)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(GUARD_SECONDS)


def serve() -> None:
    """Import, then fork a training for every line."""
    for module in pkgutil.walk_packages(snac_exp.__path__, "snac_exp."):
        importlib.import_module(module.name)
    from snac_exp.verbs.training.train import main

    print(0, flush=True)
    for line in sys.stdin:
        arguments, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _train(main, arguments, log)
        print(pid, flush=True)
        sys.stdin.readline()  # only when it has been killed or is to be waited for: until then its number is its own
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _train(main: Any, arguments: list[str], log: str) -> None:
    """In the child: a session and a log of its own, and an end without the server's."""
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status = 1
    try:
        status = main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
