"""Waiting for what happens, never for a while: a busy machine takes longer and comes to the same end."""

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias, TypeVar

# Ends a test that would hang, before pytest's own guard does, which cannot say what was awaited; no verdict depends on
# it.
GUARD_SECONDS = 600.0
_LOOK_EVERY_SECONDS = 0.02

T = TypeVar("T")
Process: TypeAlias = subprocess.Popen[bytes] | subprocess.Popen[str]


def until(look: Callable[[], T], awaited: str, beside: Process | None = None) -> T:
    """The first true value of `look`.

    Raises:
        AssertionError: the process `beside`, which should have brought it about, has ended without; or the guard. It
            tells what the process has written into its pipes.
    """
    guard = time.monotonic() + GUARD_SECONDS
    while True:
        ended = beside is not None and beside.poll() is not None
        if found := look():
            return found
        if beside is not None and ended:
            raise AssertionError(f"the process ended with {beside.returncode} before {awaited}{_written(beside)}")
        assert time.monotonic() < guard, f"waited in vain until {awaited}{_written(beside)}"
        time.sleep(_LOOK_EVERY_SECONDS)


def first_line(process: "subprocess.Popen[str]") -> str:
    """What a server prints once it listens."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(f"it ended with {process.wait(GUARD_SECONDS)} and without a word{_written(process)}")
    return line


def _written(process: Process | None) -> str:
    """What waits in a process's pipes; another may hold them open, so that they need not come to an end."""
    said = b""
    for stream in () if process is None else (process.stdout, process.stderr):
        if stream is not None:
            os.set_blocking(stream.fileno(), False)
            with suppress(BlockingIOError):
                while piece := os.read(stream.fileno(), 65_536):
                    said += piece
    return f":\n{said[-4000:].decode(errors='replace')}" if said else ""
