"""What can go wrong for a user, one class per kind.

Every message names the key or the file and the mend. The command line prints these without a traceback and exits with
status 2 (`guarded`); any other exception is a defect of ours and keeps its traceback.
"""

import sys
from collections.abc import Callable

EXIT_USER_ERROR = 2


class SnacExpError(Exception):
    """Base class of all errors a user can mend."""


class ConfigError(SnacExpError):
    """The configuration says something impossible: unknown key, gap in a schedule, pattern that matches nothing."""


class DataError(SnacExpError):
    """An audio file, a manifest or a code cache is missing, unreadable or of another codec."""


class CodecError(SnacExpError):
    """A codec cannot be found or does not fit the recipe."""


class CheckpointError(SnacExpError):
    """A checkpoint is missing, incomplete, altered or of another model."""


class PreflightError(SnacExpError):
    """The recipe's promises do not hold on the real data, so the run does not start."""


class DivergenceError(SnacExpError):
    """A loss or gradient stopped being finite; the message names the snapshot that was written."""


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; a SnacExpError is printed to stderr, and the status is then 2."""
    try:
        return command()
    except SnacExpError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
