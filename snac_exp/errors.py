"""What can go wrong for a user, one class per kind.

Every message names the key or the file and the mend. The command line prints these without a traceback and exits with
status 2 (`guarded`); any other exception is a defect of ours and keeps its traceback.
"""

import os
import select
import sys
from collections.abc import Callable

EXIT_USER_ERROR = 2
EXIT_READER_LEFT = 141  # 128 + SIGPIPE, as a shell reports it


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


class SilenceError(SnacExpError):
    """A head fell further below its target than `trainer.guards.silence_db` admits."""


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; a SnacExpError is printed to stderr, and the status is then 2.

    Where the reader of standard output has enough, as in `snac-exp plan … | head`, the command ends without a word and
    with the status of programs that SIGPIPE ends.
    """
    try:
        status = command()
        sys.stdout.flush()
        return status
    except SnacExpError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except BrokenPipeError:
        if not _reader_left():
            raise
        # What Python still holds for the reader goes nowhere, or it would complain of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_READER_LEFT


def _reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
