"""Which process holds a run, and whether it is provably gone."""

import os
import socket
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from snac_exp.system.slurm_queue import ACTIVE, current_job, job_states


@dataclass(frozen=True)
class Owner:
    """One process: process ids are used again, so the time at which it started belongs to its name."""

    host: str
    pid: int
    process_started: float  # seconds since the epoch, as the kernel counts
    slurm_job_id: str | None
    slurm_restarts: int

    @classmethod
    def me(cls) -> "Owner":
        """This process."""
        started = psutil.Process().create_time()
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        return cls(socket.gethostname(), os.getpid(), started, current_job(), restarts)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Owner":
        """From what `as_dict` gave; further keys are passed over."""
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__})

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    def is_running_here(self) -> bool:
        """Whether the process lives on this machine; a zombie does not."""
        if not self.is_here:
            return False
        try:
            process = psutil.Process(self.pid)
            # A process id is used again; the start is counted from boot, and the clock may have been set since.
            return abs(process.create_time() - self.process_started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def is_gone(self) -> bool:
        """Whether the process has provably ended.

        On this machine the kernel knows. On another one only SLURM can prove it: the job is over, or this process is a
        later start of the same job.
        """
        if self.is_here:
            return not self.is_running_here()
        if self.slurm_job_id is None:
            return False
        me = Owner.me()
        if self.slurm_job_id == me.slurm_job_id:
            return me.slurm_restarts > self.slurm_restarts
        state = job_states([self.slurm_job_id]).get(self.slurm_job_id)
        return state is not None and state not in ACTIVE

    def __str__(self) -> str:
        job = f", SLURM job {self.slurm_job_id}" if self.slurm_job_id else ""
        return f"process {self.pid} on {self.host}{job}"
