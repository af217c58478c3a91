"""A training that says at which point it is, and kills itself at one: before a file changes or a part begins.

usage: python -m tests.campaigns.points LOG POINT|- TIMES ARGUMENTS of train.py…     killed at POINT the TIMESth time

A point is a change of a file below the folder of LOG, as in `rename checkpoint_epochN.pt`, or the name of a part of the
loop, as in `_validate`; all that are passed stand in LOG, a line each.
"""

import functools
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from snac_exp.training.loop import Trainer
from snac_exp.verbs.training.train import main

PARTS = ("_begin", "_enter", "_update", "_log", "_validate", "averaged", "_finish")
CHANGES = {"open": 0, "os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0}
"""Events of the interpreter that change files, and which of their arguments is the path."""
_WRITES = os.O_WRONLY | os.O_RDWR


def passed(log: Path) -> list[str]:
    """The points of a process, in order; the last is where it was killed, if it killed itself."""
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def point_of(event: str, arguments: tuple[Any, ...], below: str) -> str | None:
    """The point that an event of the interpreter is, its temporary names and numbers left out; None if it is none."""
    if event not in CHANGES or (event == "open" and not int(arguments[2] or 0) & _WRITES):
        return None
    path = arguments[CHANGES[event]]
    if not isinstance(path, str | bytes | os.PathLike) or not os.fsdecode(path).startswith(below):
        return None
    name = re.sub(r"^(\..+)\.[^.]+\.tmp$", r"\1.tmp", Path(os.fsdecode(path)).name)
    if event == "os.remove" and name.endswith(".tmp"):
        return None  # of one that has just been renamed: nothing changes
    return f"{event.removeprefix('os.')} {re.sub(r'[0-9]{4}-[-_0-9a-f]+', 'RUN', re.sub(r'(?<=h|r)[0-9]+', 'N', name))}"


def _watch(log: Path, killed_at: str, times: int) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    below, seen = f"{log.parent}{os.sep}", Counter[str]()

    def at(point: str) -> None:
        os.write(file, f"{point}\n".encode())
        seen[point] += 1
        if point == killed_at and seen[point] == times:
            os.kill(os.getpid(), signal.SIGKILL)

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if (point := point_of(event, arguments, below)) is not None:
            at(point)

    for name in PARTS:
        setattr(Trainer, name, _saying(at, name))
    sys.addaudithook(look)


def _saying(at: Any, name: str) -> Any:
    part = getattr(Trainer, name)

    @functools.wraps(part)
    def said(*arguments: Any) -> Any:
        at(name)
        return part(*arguments)

    return said


if __name__ == "__main__":
    _watch(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.exit(main(sys.argv[4:]))
