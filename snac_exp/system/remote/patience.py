"""Trying again what a network may fail at, with a pause that doubles, and saying in one error what did not help."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from snac_exp.errors import DataError, SnacExpError
from snac_exp.system.paths.writing import mend_of

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.5  # then 1, 2 and 4, each up to half longer, so that many processes do not come back at once
T = TypeVar("T")


class ChangedError(Exception):
    """An object is not the one any more that was listed."""


_IN_VAIN = (SnacExpError, ChangedError, FileNotFoundError, PermissionError, IsADirectoryError, ImportError)
"""What another attempt will not change."""


def patiently(what: str, attempt: Callable[[], T]) -> T:
    """What `attempt` returns, tried up to ATTEMPTS times.

    Raises:
        DataError: names `what`, an address, and the last failure.
        ChangedError, FileNotFoundError, PermissionError, ImportError: at once.
    """
    for number in range(ATTEMPTS):
        try:
            return attempt()
        except _IN_VAIN:
            raise
        except Exception as error:  # every store's library has errors of its own for the same broken connection
            if number == ATTEMPTS - 1:
                mend = mend_of(error) if isinstance(error, OSError) else ""
                raise DataError(
                    f"{what}: cannot be read, {ATTEMPTS} attempts failed, the last with {first_line(error)}{mend}; "
                    "nothing of it is used"
                ) from error
            pause(FIRST_PAUSE_SECONDS * 2**number)
    raise AssertionError("the last attempt returns or raises")


def pause(seconds: float) -> None:
    """Sleep so long, and up to half as long again."""
    # Not of the run's seeds: processes of the same seed must not come back together.
    time.sleep(seconds * random.uniform(1.0, 1.5))


def first_line(error: BaseException) -> str:
    """`TimeoutError: …`, at most 300 characters of it."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:300]
