"""The state of a run: what its status.json says, corrected by what the kernel and SLURM know. Decided here alone."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from snac_exp.system.owner import Owner
from snac_exp.system.slurm_queue import ACTIVE, GONE, job_states
from snac_exp.tracking.json_files import NUMBER, TEXT_OR_NONE, Shape, require_shape
from snac_exp.tracking.run_folder import RunFolder

# Nothing more happens in these states unless somebody asks for it.
FINAL = frozenset({"finished", "pruned", "failed", "cancelled", "lost", "preempted"})
# Nor does anybody have to ask: a sweep has what it wanted of such a run, whatever becomes of its job.
DONE = frozenset({"finished", "pruned"})
BEGIN_SECONDS = 300.0  # within which a process in the background begins its run
# Active, but without a process at the moment.
WAITING = ACTIVE - {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"}

_STATUS: Shape = {
    "state": str, "heartbeat": NUMBER,
    "host": str, "pid": int, "process_started": NUMBER, "slurm_job_id": TEXT_OR_NONE, "slurm_restarts": int,
}  # fmt: skip


@dataclass(frozen=True)
class RunState:
    """State of a run: queued, running, finished, pruned (given up by its search, saved), failed, preempted (saved, can
    go on), cancelled or lost."""

    state: str
    error: str | None = None


def run_state(status: Mapping[str, Any] | None, queue: str | None) -> RunState:
    """The state of a run from its status.json (None: never begun) and its job's state in the queue (None: no job).

    A process that ended without reporting how is lost. A job that waits in the queue is queued, however its last start
    ended.
    """
    reported = None if status is None else str(status["state"])
    error = _error_line(status)
    # First of all: a finished run stays finished, whatever becomes of its job.
    if reported in DONE:
        return RunState(reported, _pruned_line(status) if reported == "pruned" else None)
    if queue in WAITING:
        return RunState("queued", error)
    ended = queue is not None and queue not in ACTIVE
    if reported is None or reported == "queued":
        return _never_begun(queue) if ended or _was_forgotten(status, queue) else RunState("queued")
    if reported == "running":
        return _unfinished(status or {}, queue) if ended or _is_dead(status or {}) else RunState("running")
    if reported == "preempted" and queue == "CANCELLED":
        return RunState("cancelled", "cancelled; it had saved")
    return RunState(reported, error)


def _never_begun(queue: str | None) -> RunState:
    if queue is None:  # in the background, without a queue
        return RunState("lost", "its process never began")
    state = "cancelled" if queue == "CANCELLED" else "lost"
    return RunState(state, f"the queue says {queue}, and the job never began")


def _was_forgotten(status: Mapping[str, Any] | None, queue: str | None) -> bool:
    """Whether a process started in the background should have begun long ago."""
    return status is not None and queue is None and time.time() - status["heartbeat"] > BEGIN_SECONDS


def _unfinished(status: Mapping[str, Any], queue: str | None) -> RunState:
    if queue == "CANCELLED":
        return RunState("cancelled", "cancelled before it could save; its last checkpoint stands")
    # The queue sees the job, not the process: on its own machine the kernel knows better.
    if queue in ACTIVE:
        return (
            RunState("running")
            if not Owner.from_dict(dict(status)).is_here
            else RunState("lost", "its process is gone")
        )
    why = "" if queue in (None, GONE) else f"; the queue says {queue}"
    return RunState("lost", f"process {status['pid']} on {status['host']} ended without reporting its state{why}")


def _is_dead(status: Mapping[str, Any]) -> bool:
    owner = Owner.from_dict(dict(status))
    return owner.is_here and not owner.is_running_here()


def _error_line(status: Mapping[str, Any] | None) -> str | None:
    """What a run failed of, on one line: of a traceback the first line of the error, which may have several."""
    lines = str((status or {}).get("error") or "").strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    after = [line for line in lines[frames[-1] :] if not line.startswith(" ")] if frames else lines[-1:]
    return after[0] if after else None


def _pruned_line(status: Mapping[str, Any] | None) -> str:
    """After which step and why a search gave the run up."""
    said = (status or {}).get("pruned") or {}
    return f"at step {said.get('step')}: {said.get('reason')}"


def queue_states(jobs: Mapping[str, str]) -> dict[str, str]:
    """Queue states of jobs (id -> cluster), as far as they can be known."""
    states = job_states(job for job, cluster in jobs.items() if cluster == "slurm")
    local = (job for job, cluster in jobs.items() if cluster == "local")
    return states | {job: "RUNNING" if _process_lives(int(job)) else GONE for job in local}


def _process_lives(pid: int) -> bool:
    """Whether a submitit controller on this machine still runs."""
    try:
        # A zombie has ended; only its parent has not asked yet.
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def status_of(run_dir: Path) -> dict[str, Any] | None:
    """status.json of a run folder, or None.

    Raises:
        ConfigError: it is damaged.
    """
    folder = RunFolder(run_dir)
    status = folder.status()
    if status is not None:
        require_shape(folder.status_file, status, _STATUS)
    return status


def current_state(run_dir: Path) -> RunState:
    """The state of a run that is in no sweep's queue, or of one by itself: SLURM is asked about the job that ran it.

    Raises:
        ConfigError: its status is damaged.
    """
    status = status_of(run_dir)
    job = slurm_job(status)
    return run_state(status, queue_states({job: "slurm"}).get(job) if job is not None else None)


def slurm_job(status: Mapping[str, Any] | None) -> str | None:
    """The id of the SLURM job in which a run last reported its state; None outside of SLURM."""
    job = (status or {}).get("slurm_job_id")
    return None if job is None else str(job)
