"""How a run really is: what it last said, corrected by what the kernel and SLURM know."""

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from snac_exp.errors import ConfigError
from snac_exp.system.files import read_json
from snac_exp.system.owner import Owner
from snac_exp.system.slurm_queue import ACTIVE, GONE, job_states

# Nothing more happens in these states unless somebody asks for it.
FINAL = frozenset({"finished", "failed", "cancelled", "lost", "preempted"})
BEGIN_SECONDS = 300.0  # within which a process in the background begins its run
WAITING = ACTIVE - {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"}


@dataclass(frozen=True)
class RunState:
    """State of a run: queued, running, finished, failed, preempted (saved, can go on), cancelled or lost."""

    state: str
    error: str | None = None


def run_state(status: Mapping[str, Any] | None, queue: str | None) -> RunState:
    """The state of a run from its status.json (None: never begun) and its job's state in the queue (None: no job).

    A process that is gone without having said so is lost. A job that waits in the queue is queued, whatever its last
    start came to.
    """
    said = None if status is None else str(status["state"])
    error = _last_line(status)
    if said == "finished":
        return RunState("finished")
    if queue in WAITING:
        return RunState("queued", error)
    ended = queue is not None and queue not in ACTIVE
    if said is None or said == "queued":
        return _never_begun(queue) if ended or _was_forgotten(status, queue) else RunState("queued")
    if said == "running":
        return _unfinished(status or {}, queue) if ended or _is_dead(status or {}) else RunState("running")
    if said == "preempted" and queue == "CANCELLED":
        return RunState("cancelled", "cancelled; it saved before it left")
    return RunState(said, error)


def _never_begun(queue: str | None) -> RunState:
    if queue is None:
        return RunState("lost", "its process never began")
    state = "cancelled" if queue == "CANCELLED" else "lost"
    return RunState(state, f"the queue says {queue}, and the job never began")


def _was_forgotten(status: Mapping[str, Any] | None, queue: str | None) -> bool:
    """Whether a process started in the background should have begun long ago."""
    return status is not None and queue is None and time.time() - status["heartbeat"] > BEGIN_SECONDS


def _unfinished(status: Mapping[str, Any], queue: str | None) -> RunState:
    if queue == "CANCELLED":
        return RunState("cancelled", "cancelled before it could save; its last checkpoint stands")
    if queue in ACTIVE:
        return (
            RunState("running")
            if not Owner.from_dict(dict(status)).is_here
            else RunState("lost", "its process is gone")
        )
    why = "" if queue in (None, GONE) else f"; the queue says {queue}"
    return RunState("lost", f"process {status['pid']} on {status['host']} is gone without a word{why}")


def _is_dead(status: Mapping[str, Any]) -> bool:
    owner = Owner.from_dict(dict(status))
    return owner.is_here and not owner.is_running_here()


def _last_line(status: Mapping[str, Any] | None) -> str | None:
    text = str((status or {}).get("error") or "").strip()
    return text.splitlines()[-1] if text else None


def queue_states(jobs: Mapping[str, str]) -> dict[str, str]:
    """Queue states of jobs (id -> cluster), as far as they can be known."""
    states = job_states(job for job, cluster in jobs.items() if cluster == "slurm")
    local = (job for job, cluster in jobs.items() if cluster == "local")
    return states | {job: "RUNNING" if _process_lives(int(job)) else GONE for job in local}


def _process_lives(pid: int) -> bool:
    """Whether a submitit controller on this machine still runs."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def status_of(run_dir: Path) -> dict[str, Any] | None:
    """status.json of a run folder, or None.

    Raises:
        ConfigError: it is damaged.
    """
    path = run_dir / "status.json"
    return facts_of(path, {"state", "heartbeat", *Owner.__dataclass_fields__}) if os.path.exists(path) else None


def facts_of(path: Path, needed: Collection[str] = ()) -> dict[str, Any]:
    """A JSON file that holds facts by name.

    Raises:
        ConfigError: it is damaged, or one of the facts that are needed is not there.
    """
    try:
        facts = read_json(path)
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}); restore it or remove it") from error
    missing = sorted(set(needed) - facts.keys()) if isinstance(facts, dict) else sorted(needed)
    if missing or not isinstance(facts, dict):
        raise ConfigError(f"{path} is damaged: it lacks {', '.join(missing)}; restore it or remove it")
    return facts
