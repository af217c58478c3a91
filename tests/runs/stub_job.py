"""Stands for a training process: keeps the lock and the status as a run does, and does what its config's tag says.

usage: python stub_job.py RUN_DIR
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from snac_exp.tracking.run_folder import RunFolder


def main(run_dir: Path) -> int:
    folder = RunFolder.open(run_dir)
    (deed,) = folder.values()["tracker"]["tags"]
    if deed == "vanish":
        return 3
    with folder.locked():
        folder.begin()
        line = {
            "step": 1,
            "epoch": 1,
            "kind": "validation",
            "time": 0.0,
            "val/objective": folder.values()["seed"] + 0.5,
        }
        folder.metrics.write_text(json.dumps(line) + "\n")
        if deed == "raise" and not (run_dir / "mended").exists():
            folder.set_status("failed", error="Traceback\nValueError: told to fail")
            return 1
        if deed == "exit":
            sys.exit(4)
        if deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "sleep":
            stopped: list[int] = []
            signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
            while not stopped:
                time.sleep(0.02)
            folder.set_status("preempted", stopped_by="SIGTERM")
            return 75
        folder.set_status("finished")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
