"""What SLURM says about jobs: squeue for those it still knows, sacct for older ones."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping

# States from which a job comes back by itself, or in which it is.
ACTIVE = frozenset(
    {
        *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"),
        *("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "STAGE_OUT"),
    }
)
GONE = "GONE"  # SLURM answered, and knows no such job


def current_job(environment: Mapping[str, str] | None = None) -> str | None:
    """The id of the SLURM job this process belongs to, as squeue shows it: `123`, or `123_4` in an array."""
    known = os.environ if environment is None else environment
    array, task = known.get("SLURM_ARRAY_JOB_ID"), known.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else known.get("SLURM_JOB_ID")


def job_states(jobs: Iterable[str]) -> dict[str, str]:
    """SLURM's state of each job, `GONE` for those it does not know; empty where SLURM does not answer."""
    wanted = sorted(set(jobs))
    if not wanted or shutil.which("squeue") is None:
        return {}
    listed = _ask("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={','.join(wanted)}")
    if listed is None:
        return {}
    states = {job: state for job, state in listed.items() if job in wanted}
    older = [job for job in wanted if job not in states]
    if older and shutil.which("sacct") is not None:
        known = _ask("sacct", "--allocations", "-n", "--parsable2", "--format=JobID,State", f"--jobs={','.join(older)}")
        states |= known or {}
    return {job: states.get(job, GONE) for job in wanted}


def _ask(*command: str) -> dict[str, str] | None:
    """Lines `JOB|STATE …` as a dictionary; None when the command failed for another reason than an unknown job."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    pairs = (line.split("|", 1) for line in done.stdout.splitlines() if "|" in line)
    # sacct writes `CANCELLED by 1000`.
    return {job: state.split()[0] for job, state in pairs if state.strip()}
