"""train.py with an accident: kill this process (SIGKILL) at a step, or in the middle of writing a checkpoint.

usage: python driver.py step=N|write=N [arguments of train.py]
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from snac_exp.training.loop import Trainer
from snac_exp.verbs.training.train import main


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_step(number: int) -> None:
    """Die once step `number` was done and logged, before it could be saved."""
    log = Trainer._log

    def log_and_die(self: Trainer, *arguments: Any) -> None:
        log(self, *arguments)
        if self.state.step == number:
            die()

    Trainer._log = log_and_die  # type: ignore[method-assign]


def kill_in_write(number: int) -> None:
    """Die when half of the checkpoint of step `number` is on the disk."""
    save = torch.save

    def half(value: Any, path: Path) -> None:
        save(value, path)
        if value["state"]["step"] == number:
            os.truncate(path, path.stat().st_size // 2)
            die()

    torch.save = half


if __name__ == "__main__":
    kind, number = sys.argv[1].split("=")
    {"step": kill_at_step, "write": kill_in_write}[kind](int(number))
    sys.exit(main(sys.argv[2:]))
