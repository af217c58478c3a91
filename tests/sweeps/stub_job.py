"""Stands for a training process: keeps the lock and the status as a run does, and does what its config's tag says.

Told to `measure` it logs how far the trunk's rate is from 1e-4, in decades; above 5e-4 it fails. Told to `validate` it
logs 9 at step 0, one more than that distance at step 3 and the distance at step 6, and ends at step 3 if its search
says so. Where STUB_GATE names a file, it begins once that is there.

usage: python stub_job.py RUN_DIR
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from snac_exp.sweeps.bayesian.pruning import judge_of
from snac_exp.tracking.run_folder import RunFolder


def main(run_dir: Path) -> int:
    gate = os.environ.get("STUB_GATE")
    if gate is not None:
        Path(f"{gate}.reached").touch()
    while gate is not None and not os.path.exists(gate):
        time.sleep(0.02)
    folder = RunFolder.open(run_dir)
    (deed,) = folder.values()["tracker"]["tags"]
    if deed == "vanish":
        return 3
    stopped: list[int] = []
    if deed == "sleep":
        signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    with folder.locked():
        folder.begin()
        value = folder.values()["seed"] + 0.5
        if deed == "measure":
            rate = folder.values()["lr"]["phases"]["main"]["groups"]["trunk"]
            value, deed = abs(math.log10(rate) + 4), "raise" if rate > 5e-4 else "finish"
        if deed == "validate":
            return validate(folder)
        log(folder, 1, value)
        if deed == "raise" and not (run_dir / "mended").exists():
            folder.set_status("failed", error="Traceback\nValueError: told to fail")
            return 1
        if deed == "exit":
            sys.exit(4)
        if deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "sleep":
            while not stopped and not (run_dir / "mended").exists():
                time.sleep(0.02)
            if stopped:
                folder.set_status("preempted", stopped_by="SIGTERM")
                return 75
        folder.set_status("finished")
    return 0


def log(folder: RunFolder, step: int, value: float) -> None:
    line = {"step": step, "epoch": 1, "kind": "validation", "time": 0.0, "val/objective": value}
    with open(folder.metrics, "a") as file:
        file.write(json.dumps(line) + "\n")


def validate(folder: RunFolder) -> int:
    judge = judge_of(folder)
    distance = abs(math.log10(folder.values()["lr"]["phases"]["main"]["groups"]["trunk"]) + 4)
    for step, value in ((0, 9.0), (3, distance + 1), (6, distance)):
        log(folder, step, value)
        pruned = judge(step) if judge is not None and step == 3 else None
        if pruned is not None:
            folder.set_status("pruned", pruned={"step": pruned.step, "reason": pruned.reason})
            return 0
    folder.set_status("finished")
    return 0


def stub_command(run_dir: Path, root: Path | None = None) -> tuple[list[str], dict[str, str]]:
    """The command and environment of such a process, in place of a training's."""
    checkout = str(Path(__file__).parents[2])
    return [sys.executable, __file__, str(run_dir)], {**os.environ, "PYTHONPATH": checkout}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
