"""Jobs of a sweep as a SLURM array, through submitit: submitted once, requeued when time is up, accounted for."""

import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import submitit

from snac_exp.errors import ConfigError
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.process import code_environment, resume_here, without_slurm
from snac_exp.system.stop_request import Stopped, StopRequest
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import status_of

MAX_STALE_POLLS = 2  # a state must be seen so often in a row: between exit and requeue a job looks ended


@dataclass(frozen=True)
class TrainJob:
    """What submitit pickles: a path. Requeued or restarted by whomever, it goes on with the run in that folder."""

    run_dir: str
    sweep_dir: str

    def __call__(self) -> int:
        """Begin or go on with the run.

        A run that fails raises here, so SLURM sees FAILED and the traceback stands in the job's stderr. A run that was
        asked to stop has saved by now; then submitit's own handler decides whether the job is requeued, and SIGTERM
        ends the process with status 75, so that no cancelled job counts as a success.
        """
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's, before the run installs its own
        sweep = Sweep.open(Path(self.sweep_dir))
        # Now, not at submission: the snapshot may have been deleted while the job waited.
        sweep.refuse_lost_code()
        try:
            status = resume_here(Path(self.run_dir))
        finally:
            # One rank speaks for the job; the ledger is a file that all would write.
            if int(os.environ.get("SLURM_PROCID", "0")) == 0:
                sweep.refresh()
        if status == 0 or int(os.environ.get("SLURM_PROCID", "0")) > 0:
            return status  # a rank that left with an error would make srun end rank 0 before it has requeued
        stopped_by = (status_of(Path(self.run_dir)) or {}).get("stopped_by")
        # SIGUSR2 is the time limit: the job goes on by itself. Who stopped it with another signal wants it to stay.
        if stopped_by in (None, "SIGUSR2") and callable(requeue):
            requeue(signal.SIGUSR2, None)
        sys.exit(status)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """submitit asks at a requeue what to run next: the same."""
        return submitit.helpers.DelayedSubmission(self)


@dataclass
class Slurm:
    """The launcher `slurm`. Fields are the keys of conf/hydra/launcher/slurm.yaml."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus_per_node: int | None = None
    nodes: int = 1
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    timeout_min: int = 1440
    signal_delay_s: int = 120
    max_num_timeout: int = 100
    array_parallelism: int = 256
    setup: list[str] = field(default_factory=list)
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    poll_seconds: float = 10.0
    cluster: Literal["slurm", "local"] = "slurm"

    def submit(self, sweep: Sweep, rows: Sequence[Row], *, wait: bool) -> None:
        """Submit the jobs as one array, note their ids, and with `wait` stay until nothing more happens.

        Raises:
            ConfigError: SLURM is not here, or another process submits or has submitted jobs of this sweep.
            Stopped: a signal came; the ids of what was submitted are noted.
        """
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError("hydra/launcher=slurm: there is no sbatch here; submit from a machine that has SLURM")
        # Without rows there is only waiting: jobs of an earlier call are still in the queue.
        if rows:
            with sweep.held(), StopRequest().finishing_steps() as stop:  # a job without its id would be lost
                # Asked under the lock: another process may have submitted since the rows were chosen.
                sweep.refuse_submitted(rows)
                self._submit(sweep, rows)
            if stop.signal_name is not None:
                raise Stopped(stop.signal_name)
        if wait:
            self._wait(sweep)
        else:
            print(f"submitted; look: snac-exp status {sweep.path}")

    def _submit(self, sweep: Sweep, rows: Sequence[Row]) -> None:
        devices = _common_devices(sweep, rows)
        executor = submitit.AutoExecutor(
            folder=sweep.slurm / "%j",  # %j: the job's id
            cluster=self.cluster,
            **({"slurm_max_num_timeout": self.max_num_timeout} if self.cluster == "slurm" else {}),
        )
        executor.update_parameters(**self._parameters(sweep, devices))
        tasks = [TrainJob(str(sweep.run_dir(row)), str(sweep.path)) for row in rows]
        # Before they are submitted: a status older than this is of an earlier attempt.
        when = time.time()
        with _submission_environment(sweep):
            jobs = (
                executor.submit_array(tasks) if self.cluster == "slurm" else [executor.submit(task) for task in tasks]
            )
        sweep.submitted({row.hash: job.job_id for row, job in zip(rows, jobs, strict=True)}, self.cluster, when)
        for row, job in zip(rows, jobs, strict=True):
            print(f"{row.title}: {'SLURM job ' if self.cluster == 'slurm' else 'process '}{job.job_id}", flush=True)

    def _parameters(self, sweep: Sweep, devices: int) -> dict[str, Any]:
        """Settings of submitit's executor; those with the prefix are dropped where SLURM is not used."""
        environment = code_environment(sweep.code)
        exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        # The user's own come last and win.
        extra = {"chdir": str(sweep.directory), **self.additional_parameters}
        shared = {
            "name": sweep.path.parent.name,
            "timeout_min": self.timeout_min,
            "nodes": self.nodes,
            "tasks_per_node": devices,  # a task per rank
            "cpus_per_task": self.cpus_per_task,
            "gpus_per_node": self.gpus_per_node,
            "mem_gb": self.mem_gb,
        }
        slurm = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "signal_delay_s": self.signal_delay_s,
            "array_parallelism": self.array_parallelism,
            "setup": [*exports, *self.setup],
            "additional_parameters": extra,
        }
        chosen = {**shared, **{f"slurm_{name}": value for name, value in slurm.items()}}
        # None leaves it to SLURM's defaults.
        return {name: value for name, value in chosen.items() if value is not None}

    def _wait(self, sweep: Sweep) -> None:
        """Watch the ledger until every job has come to rest; Ctrl-C leaves the jobs alone."""
        seen, stale = {row.hash: row.state for row in sweep.refresh()}, 0
        try:
            while stale < MAX_STALE_POLLS:
                time.sleep(self.poll_seconds)
                rows = sweep.refresh()
                for row in rows:
                    if seen.get(row.hash) != row.state:
                        print(f"{row.title}: {row.state}{f': {row.error}' if row.error else ''}", flush=True)
                        seen[row.hash] = row.state
                stale = stale + 1 if sweep.is_at_rest() else 0
        except KeyboardInterrupt:
            print(f"the jobs go on; look: snac-exp status {sweep.path}   stop them: snac-exp stop {sweep.path}")


def _common_devices(sweep: Sweep, rows: Sequence[Row]) -> int:
    """trainer.devices, the tasks per node of the array; all jobs must agree."""
    wanted = {row.hash: RunFolder.open(sweep.run_dir(row)).num_devices() for row in rows}
    if len(set(wanted.values())) > 1:
        raise ConfigError(f"the jobs of one array share their resources, but trainer.devices differs: {wanted}")
    return next(iter(wanted.values()))


@contextmanager
def _submission_environment(sweep: Sweep) -> Iterator[None]:
    """Submit as if from a plain shell at the code of the snapshot: SLURM hands the whole environment on to the jobs."""
    # Emptied first: variables of a job that this process runs in would stay otherwise.
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(without_slurm(before) | code_environment(sweep.code))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
