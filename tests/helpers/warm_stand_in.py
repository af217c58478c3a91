"""A stand-in for `python`: has a warm process begun with its own files, environment and folder, and ends as it ends.

usage: python -I -S warm_stand_in.py SOCKET [ARGUMENT OF PYTHON]…
"""

import contextlib
import json
import os
import signal
import socket
import sys

HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
KILL = signal.SIGRTMIN
"""Kills the warm process, and ends this one only when that is gone; SIGKILL would end this one first."""

# A job that submitit runs on this machine is known by the pid of its controller, which therefore keeps its own.
CONTROLLER = ["-m", "submitit.local._local"]
BE_THE_CONTROLLER = (
    "import runpy, sys; sys.executable = {python!r}; "
    "runpy.run_module('submitit.local._local', run_name='__main__', alter_sys=True)"
)


def main(place: str, arguments: list[str]) -> int:
    """The exit status of `python ARGUMENTS`; a signal that ended it ends this process too."""
    if arguments[:2] == CONTROLLER:
        code = BE_THE_CONTROLLER.format(python=os.path.join(os.path.dirname(place), "python"))
        os.execv(sys.executable, [sys.executable, "-c", code, *arguments[2:]])
    signal.pthread_sigmask(signal.SIG_BLOCK, (*HANDED_ON, KILL))
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        socket.send_fds(server, [b"x"], [0, 1, 2])
        asked = {"arguments": arguments, "environment": dict(os.environ), "cwd": os.getcwd()}
        server.sendall(json.dumps(asked).encode() + b"\n")
        answers = server.makefile("r")
        pid = json.loads(answers.readline())["pid"]

        def hand_on(number: int, _: object) -> None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended, which is the next answer
                os.kill(pid, signal.SIGKILL if number == KILL else number)

        for number in (*HANDED_ON, KILL):
            signal.signal(number, hand_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*HANDED_ON, KILL))
        status = int(json.loads(answers.readline())["status"])
    if status < 0:
        if -status in HANDED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
