"""Files and folders that the system refuses are the user's to mend: they are named, without a traceback."""

import sys
from collections.abc import Callable
from pathlib import Path

from snac_exp.errors import DataError
from snac_exp.system.paths.kind import refuse_file
from snac_exp.system.paths.writing import mend_of


def with_files(command: Callable[[], int]) -> int:
    """Run a command and return its exit status.

    Raises:
        DataError: in place of an error of the system about a path; a file where a folder should be is named as what it
            is.
    """
    try:
        status = command()
        sys.stdout.flush()  # here, where a disk that is full is an error of the system, and not at exit
        return status
    except (FileExistsError, NotADirectoryError) as error:
        if error.filename is None:
            raise
        path = Path(str(error.filename))
        for place in (path, *path.parents):
            refuse_file(place, "a folder; choose another one", DataError)
        raise DataError(f"{path}: {error.strerror}") from error
    except BrokenPipeError:
        raise  # `guarded` knows whether the reader has left
    except OSError as error:
        if error.filename is None:
            if not mend_of(error):
                raise
            raise DataError(f"standard output, or a file of a library: {error.strerror}{mend_of(error)}") from error
        raise DataError(f"{error.filename}: {error.strerror}{mend_of(error)}") from error
