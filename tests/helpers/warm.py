"""Python processes that begin warm: forked from a server that has imported the package, torch and Hydra already.

A cold start costs 3 to 4 s of a processor, nearly all for imports, and the tests start some hundred processes. A forked
one is a process of its own all the same: it has a pid, gets signals, is killed, leaves behind what a process leaves.
The processes in which pytest-xdist runs tests are such processes too, and have one server together.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PYTHON = "SNAC_EXP_TEST_PYTHON"
COLD = os.environ.get(_PYTHON, sys.executable)
"""Python itself, for tests of what a start imports."""


@contextmanager
def warm_python() -> Iterator[None]:
    """sys.executable begins warm processes meanwhile; so do `python` and `snac-exp` in the folder where it lies."""
    # A test that runs tests has a server; on a real SLURM every process is what SLURM starts.
    if _PYTHON in os.environ or os.environ.get("SNAC_EXP_TEST_SLURM") == "1":
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    python = f"#!/bin/sh\nexec '{COLD}' -I -S '{Path(__file__).with_name('warm_stand_in.py')}' '{folder / 'socket'}'"
    for name, arguments in {"python": "", "snac-exp": "-m snac_exp.cli"}.items():
        (folder / name).write_text(f'{python} {arguments} "$@"\n')
        (folder / name).chmod(0o755)
    command = [COLD, "-m", "tests.helpers.warm_server", str(folder / "socket"), str(folder / "python")]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    sys.executable, os.environ[_PYTHON] = str(folder / "python"), COLD
    try:
        yield
    finally:
        sys.executable = COLD
        del os.environ[_PYTHON]
        server.communicate()  # the end of its input ends it, and it the processes that are left
        shutil.rmtree(folder)


def warm_seconds() -> float:
    """Processor time of the warm processes that this one has begun and that have ended."""
    if _PYTHON not in os.environ:
        return 0.0
    try:
        return float(Path(sys.executable).with_name(seconds_file(os.environ)).read_text())
    except OSError:  # none has ended yet
        return 0.0


def seconds_file(environment: Mapping[str, str]) -> str:
    """Where the server keeps the processor time of what a process of tests began, beside its `python`."""
    return f"seconds {environment.get('PYTEST_XDIST_WORKER', '')}"
