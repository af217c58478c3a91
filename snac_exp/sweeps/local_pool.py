"""Jobs of a sweep as processes on this machine: one per device, at most so many at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from snac_exp.errors import ConfigError
from snac_exp.sweeps.driver import run_driver
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.process import TRIAL, resume_command, without_slurm
from snac_exp.system.stop_request import Stopped, StopRequest
from snac_exp.tracking.run_folder import RunFolder

POLL_SECONDS = 0.2


@dataclass
class Running:
    """A job's process and the devices it was given."""

    row: Row
    process: "subprocess.Popen[bytes]"
    devices: list[int]


@dataclass
class Pool:
    """The launcher `local_processes`, and with one process that shows its output the launcher `basic`.

    `processes`: most at once; None: as many as there are devices for. `devices`: numbers of the GPUs to use; None: all
    that CUDA shows; a job is given as many as its trainer.devices says. Without GPUs, `processes` alone counts.
    """

    processes: int | None = None
    devices: list[int] | None = None
    show_output: bool = False
    _running: list[Running] = field(default_factory=list, init=False)

    def submit(self, sweep: Sweep, rows: Sequence[Row], *, wait: bool) -> None:
        """Run the jobs; with `wait` false in a process of its own that outlives this one."""
        if not wait:
            run_driver(sweep, "snac_exp.cli", "sweep", f"resume={sweep.path}", wait=False)
            return
        with sweep.held(), StopRequest() as stop:  # a search holds its sweep from one batch to the next
            try:
                self._run(sweep, list(rows))
            except Stopped:
                print(f"{stop.signal_name}: the jobs save and leave", file=sys.stderr)
                self._stop_all()
                sweep.refresh()
                raise

    def _run(self, sweep: Sweep, waiting: list[Row]) -> None:
        needed = {row.hash: RunFolder.open(sweep.run_dir(row)).num_devices() for row in waiting}
        gpus = _gpus(self.devices)
        free, most = list(gpus), self._most(len(gpus), needed)
        for row in waiting:
            if gpus and needed[row.hash] > len(gpus):
                raise ConfigError(f"{row.title} needs {needed[row.hash]} devices; there are {len(gpus)}")
        while waiting or self._running:
            for done in [item for item in self._running if item.process.poll() is not None]:
                self._running.remove(done)
                free += done.devices
                self._collect(sweep, done)
            # Only the first in line: small jobs that overtake it could keep it waiting for devices for ever.
            if waiting and len(self._running) < most and (not gpus or len(free) >= needed[waiting[0].hash]):
                row = waiting.pop(0)
                given = [free.pop(0) for _ in range(needed[row.hash] if gpus else 0)]
                self._running.append(Running(row, self._start(sweep, row, given, most), given))
            else:
                time.sleep(POLL_SECONDS)

    def _most(self, num_gpus: int, needed: dict[str, int]) -> int:
        if self.processes is not None:
            return self.processes
        return max(1, num_gpus // max(needed.values(), default=1))

    def _start(self, sweep: Sweep, row: Row, given: list[int], most: int) -> "subprocess.Popen[bytes]":
        command, environment = resume_command(sweep.run_dir(row), sweep.code)
        # Inside of a SLURM job its variables would make the runs take themselves for that job's ranks.
        environment = without_slurm(environment) | {TRIAL: "1"}
        if given:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, given))
        # Processes that each take all cores are slower than one after the other; the user's own value wins.
        if most > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // most)))
        print(f"{row.title}: {sweep.run_dir(row)}", flush=True)
        # In this process's session: a single job with its output in the terminal gets Ctrl-C from there, too.
        if self.show_output:
            return subprocess.Popen(command, env=environment, cwd=sweep.directory)
        # In a session of its own: Ctrl-C reaches the pool alone, which asks every job once.
        with open(RunFolder(sweep.run_dir(row)).job_log, "ab") as log:
            return subprocess.Popen(
                command, env=environment, cwd=sweep.directory, stdout=log, stderr=log, start_new_session=True
            )

    def _collect(self, sweep: Sweep, done: Running) -> None:
        """A process that ended before it could say anything of itself failed all the same."""
        code, folder = done.process.returncode, RunFolder(sweep.run_dir(done.row))
        state = _state(sweep, done.row)
        # Later ends are noted by the run itself, with a reason; here it never came so far.
        if code and state == "queued":
            text = f"the process ended with status {code} before the run began; see {folder.job_log}"
            folder.set_status("failed", error=text, attempts=1)
            state = _state(sweep, done.row)
        print(f"{done.row.title}: {state} (exit status {code})", flush=True)

    def _stop_all(self) -> None:
        """Ask every job to save and leave, and wait until it has; a second Ctrl-C does not wait."""
        # All are asked before any is waited for, so that they save at the same time.
        for item in self._running:
            item.process.send_signal(signal.SIGTERM)
        try:
            for item in self._running:
                item.process.wait()
        except KeyboardInterrupt:
            print("left without waiting for the jobs; they save by themselves", file=sys.stderr)


def _state(sweep: Sweep, row: Row) -> str:
    """How a job is now."""
    return next(known.state for known in sweep.refresh() if known.hash == row.hash)


def _gpus(chosen: list[int] | None) -> list[int]:
    """Numbers of the GPUs that jobs may be given; none where there are none."""
    if chosen is not None:
        return list(chosen)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(number) for number in visible.split(",") if number.strip().isdigit()]
    # Imported only where the environment does not say it already: torch takes seconds.
    import torch

    return list(range(torch.cuda.device_count()))
