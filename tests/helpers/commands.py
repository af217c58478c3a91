"""The commands as users type them: in a process of their own, or in this one where a process proves nothing more.

Processes begin warm (tests/helpers/warm.py) where it does not matter what a start imports.
"""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.waiting import GUARD_SECONDS
from tests.helpers.warm import COLD

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit status (-9 if killed) and what it printed."""

    status: int
    out: str
    err: str

    def succeeded(self) -> "Done":
        """Itself, if its status is 0."""
        assert self.status == 0, f"status {self.status}\n{self.out[-2000:]}\n{self.err[-4000:]}"
        return self


def train_process(*arguments: str, environment: Mapping[str, str] | None = None) -> Done:
    """`python train.py ARGUMENTS` in the checkout, with more or other variables of the environment."""
    return python_process("train.py", *arguments, environment=environment)


def verb_process(*arguments: str, environment: Mapping[str, str] | None = None) -> Done:
    """`snac-exp ARGUMENTS` in the checkout, with more or other variables of the environment."""
    return python_process("-m", "snac_exp.cli", *arguments, environment=environment)


def python_process(*arguments: str, environment: Mapping[str, str] | None = None, cold: bool = False) -> Done:
    """`python ARGUMENTS` in the checkout; cold: with nothing imported before, for tests of what a start imports."""
    done = subprocess.run(
        [COLD if cold else sys.executable, *arguments],
        cwd=ROOT, env=os.environ | (environment or {}), capture_output=True, text=True, timeout=GUARD_SECONDS,
        check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def train(*arguments: str) -> Done:
    """What `python train.py ARGUMENTS` does, in this process."""
    from snac_exp.verbs.training.train import main

    return _here(lambda: main(arguments))


def verb(*arguments: str) -> Done:
    """What `snac-exp ARGUMENTS` does, in this process."""
    from snac_exp import cli
    from snac_exp.errors import guarded
    from snac_exp.verbs.files import with_files

    return _here(lambda: guarded(lambda: with_files(lambda: cli.run(arguments))))


def _here(command: Callable[[], int]) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = command()
    return Done(status, out.getvalue(), err.getvalue())
