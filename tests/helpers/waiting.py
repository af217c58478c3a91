"""Waiting for what happens, never for a while: a busy machine takes longer and comes to the same end."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

GUARD_SECONDS = 900.0  # ends a test that would hang; no verdict depends on it
_LOOK_EVERY_SECONDS = 0.02

T = TypeVar("T")


def until(
    look: Callable[[], T], awaited: str, beside: "subprocess.Popen[bytes] | subprocess.Popen[str] | None" = None
) -> T:
    """The first true value of `look`.

    Raises:
        AssertionError: the process `beside`, which should have brought it about, has ended without; or the guard.
    """
    guard = time.monotonic() + GUARD_SECONDS
    while True:
        ended = beside is not None and beside.poll() is not None
        if found := look():
            return found
        assert not ended, f"the process ended with {beside.returncode} before {awaited}"  # type: ignore[union-attr]
        assert time.monotonic() < guard, f"waited in vain until {awaited}"
        time.sleep(_LOOK_EVERY_SECONDS)
