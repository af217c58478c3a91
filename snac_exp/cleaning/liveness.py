"""Whether a run may be moved: only one that has provably ended, and that nobody holds or will begin again."""

import os
from collections.abc import Mapping
from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.sweeps.job_state import state_of_job
from snac_exp.sweeps.ledger import Row
from snac_exp.system.folder_lock import LOCK_FILE, holder_of
from snac_exp.system.locks import try_lock
from snac_exp.system.owner import Owner
from snac_exp.system.slurm_queue import ACTIVE, GONE
from snac_exp.tracking.run_state import DONE, FINAL, run_state, slurm_job, status_of

ENDED = FINAL - {"preempted"}
"""States of runs that may go; one that was stopped and has saved waits for its resume."""


def holding(folder: Path) -> str | None:
    """Why a run or sweep is, or may be, written by somebody; None where nobody holds it."""
    try:
        holder = holder_of(folder)
    except ConfigError as error:
        return str(error)
    if holder is not None and not holder.is_gone():
        return f"held by {holder}"
    lock = folder / LOCK_FILE
    if not lock.exists():
        return None
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError as error:
        return f"{lock}: {error.strerror}; nobody knows who holds it"
    try:
        held = try_lock(handle)
    finally:
        os.close(handle)
    if held == "busy":
        return "another process holds it"
    return None if held == "held" else f"{lock}: the file system knows no locks; nobody knows who holds it"


def jobs_of(run_dir: Path, row: Row | None) -> dict[str, str]:
    """The jobs of a run in queues (id -> cluster): that of its status, and that of the ledger, which may be later."""
    try:
        own = slurm_job(status_of(run_dir))
    except ConfigError:
        own = None  # of a damaged status `unended` says so
    of_ledger = {} if row is None or row.slurm_id is None else {row.slurm_id: row.cluster or ""}
    return ({} if own is None else {own: "slurm"}) | of_ledger


def unended(run_dir: Path, row: Row | None, queue: Mapping[str, str]) -> tuple[str, str | None]:
    """The state of a run, and why it may go on or begin again; None where it has provably ended.

    row: of the sweep's ledger. queue: states of jobs by their ids; a job that is not in it is one nobody knows of.
    """
    try:
        status = status_of(run_dir)
    except ConfigError as error:
        return "unreadable", str(error)
    if status is None:
        return "unknown", "it has no status, so nobody knows who runs it"
    jobs = {job for job in (slurm_job(status), None if row is None else row.slurm_id) if job is not None}
    done, owner = status["state"] in DONE, Owner.from_dict(status)
    for job in sorted(jobs):
        known = queue.get(job)
        if known in ACTIVE:
            return "queued", f"job {job} is {known} in the queue"
        # Another cluster's queue would say GONE of a job of this number, too.
        is_unknown = known is None or (known == GONE and not owner.is_here)
        if is_unknown and not done:
            return str(status["state"]), f"nobody knows what became of job {job}: its queue does not answer"
    job_asked = slurm_job(status) if row is None or row.slurm_id is None else row.slurm_id
    in_queue = queue.get(job_asked or "")
    state = (run_state(status, in_queue) if row is None else state_of_job(row, status, in_queue)).state
    if state not in ENDED:
        return state, "it was stopped, and can be resumed" if state == "preempted" else f"it is {state}"
    if status["state"] == "queued":
        return state, "it was never begun, and nobody knows whether it will be"
    return state, None
