"""train.py with an accident: at a step this process is killed or asked to stop, or killed in a checkpoint half written,
or when it is written and not listed yet.

usage: python driver.py step=N|stop=N|write=N|list=N [arguments of train.py]
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from snac_exp.checkpoints import store
from snac_exp.training.loop import Trainer
from snac_exp.verbs.training.train import main


def signal_at_step(number: int, sent: int) -> None:
    """Get a signal once step `number` was done and logged, before it could be saved."""
    log = Trainer._log

    def log_and_signal(self: Trainer, *arguments: Any) -> None:
        log(self, *arguments)
        if self.state.step == number:
            os.kill(os.getpid(), sent)

    Trainer._log = log_and_signal  # type: ignore[method-assign]


def kill_in_write(number: int) -> None:
    """Die when half of the checkpoint of step `number` is on the disk."""
    save = torch.save

    def half(value: Any, path: Path) -> None:
        save(value, path)
        if value["state"]["step"] == number:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half


def kill_before_list(number: int) -> None:
    """Die when the checkpoint of step `number` is on the disk, and latest.json does not list it yet."""
    write = store.write_signed_json

    def listed(path: Path, values: Any) -> None:
        if any(item["step"] == number for item in values["checkpoints"]):
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, values)

    store.write_signed_json = listed  # type: ignore[attr-defined]


if __name__ == "__main__":
    kind, number = sys.argv[1].split("=")
    if kind == "write":
        kill_in_write(int(number))
    elif kind == "list":
        kill_before_list(int(number))
    else:
        signal_at_step(int(number), {"step": signal.SIGKILL, "stop": signal.SIGTERM}[kind])
    sys.exit(main(sys.argv[2:]))
