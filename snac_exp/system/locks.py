"""The kernel's locks on files: let go of when the file is closed or its process ends, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal


def lock_now(file: int | IO[str]) -> None:
    """Lock an open file (or its descriptor) until it is closed.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the file system knows no locks.
    """
    # Not lockf: a POSIX lock is gone as soon as the process closes any descriptor of the file.
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def try_lock(file: int) -> Literal["held", "busy", "unsupported"]:
    """The same without an exception: busy says that another process has the lock."""
    try:
        lock_now(file)
    except BlockingIOError:
        return "busy"
    except OSError:
        return "unsupported"
    return "held"


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same lock file, which is made if need be, and hold it.

    Raises:
        OSError: the lock file cannot be opened, or its file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
