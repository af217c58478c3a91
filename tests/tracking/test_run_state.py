"""What a run said of itself, corrected by what the kernel and SLURM know."""

import time
from dataclasses import replace
from typing import Any

import pytest

from snac_exp.system.owner import Owner
from snac_exp.tracking.run_state import run_state

HERE = Owner.me()
DEAD = replace(HERE, process_started=HERE.process_started - 1000)
ELSEWHERE = replace(HERE, host="another", slurm_job_id="7")


def status(state: str, owner: Owner = HERE, age: float = 0.0, error: str | None = None) -> dict[str, Any]:
    """Its heartbeat counts from the start of the test."""
    return owner.as_dict() | {"state": state, "heartbeat": -age, "error": error}


@pytest.mark.parametrize(
    ("said", "queue", "state"),
    [
        (None, None, "queued"),
        (None, "PENDING", "queued"),
        (None, "CANCELLED", "cancelled"),
        (None, "NODE_FAIL", "lost"),
        (status("queued"), None, "queued"),
        (status("queued", DEAD, age=1000), None, "lost"),
        (status("running"), None, "running"),
        (status("running", DEAD), None, "lost"),
        (status("running", DEAD), "PENDING", "queued"),
        (status("running", DEAD), "RUNNING", "lost"),
        (status("running", ELSEWHERE), None, "running"),
        (status("running", ELSEWHERE), "RUNNING", "running"),
        (status("running", ELSEWHERE), "OUT_OF_MEMORY", "lost"),
        (status("running", ELSEWHERE), "CANCELLED", "cancelled"),
        (status("running", ELSEWHERE), "GONE", "lost"),
        (status("preempted", DEAD), None, "preempted"),
        (status("preempted", ELSEWHERE), "REQUEUED", "queued"),
        (status("preempted", ELSEWHERE), "CANCELLED", "cancelled"),
        (status("preempted", ELSEWHERE), "FAILED", "preempted"),
        (status("failed", DEAD), None, "failed"),
        (status("failed", DEAD), "PENDING", "queued"),
        (status("finished", DEAD), "CANCELLED", "finished"),
        (status("pruned", DEAD), None, "pruned"),
        (status("pruned", ELSEWHERE), "PENDING", "pruned"),
    ],
)
def test_state(said: dict[str, Any] | None, queue: str | None, state: str) -> None:
    if said is not None:
        said = said | {"heartbeat": time.time() + said["heartbeat"]}
    assert run_state(said, queue).state == state


def test_the_reason_is_told() -> None:
    assert run_state(status("failed", error="Traceback\n  File …\nValueError: why\n"), None).error == "ValueError: why"
    pruned = status("pruned") | {"pruned": {"step": 7, "reason": "val/x was worse"}}
    assert run_state(pruned, "COMPLETED").error == "at step 7: val/x was worse"
    lost = run_state(status("running", ELSEWHERE), "OUT_OF_MEMORY").error
    assert lost is not None
    assert lost.endswith("on another ended without reporting its state; the queue says OUT_OF_MEMORY")


def test_the_error_of_a_run_is_the_first_line_of_what_it_raised() -> None:
    """A preflight names rows on lines of their own, below the one that says what is wrong."""
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\nKeyError: 1\n\nDuring …:\n\n'
    trace += 'Traceback (most recent call last):\n  File "b.py", line 2, in h\n    raise x\n    ^^^^^^^\n'
    failed = status("failed", error=trace + "snac_exp.errors.PreflightError: 2 rows are bad; mend\n  a.wav: late\nmore")
    assert run_state(failed, None).error == "snac_exp.errors.PreflightError: 2 rows are bad; mend"
    assert run_state(status("failed", error="ranks ended: {1: 3}"), None).error == "ranks ended: {1: 3}"
