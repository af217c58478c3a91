"""Messages to a webhook."""

from dataclasses import dataclass, field
from typing import Literal

Event = Literal["failed", "diverged", "preempted", "finished", "sweep_finished", "silent_head"]


@dataclass(frozen=True)
class Alerts:
    """Which events are told to a webhook, and how patiently.

    url_variable: name of the environment variable that holds the address; None = no alerts. preempted: stopped by
    somebody, not by a time limit after which the queue begins the run again. silent_head: a head far below its
    target at a validation.
    """

    form: Literal["slack", "discord", "json"] = "json"
    url_variable: str | None = None
    on: list[Event] = field(
        default_factory=lambda: ["failed", "diverged", "preempted", "sweep_finished", "silent_head"]
    )
    attempts: int = 5
    timeout_seconds: float = 10.0
    limit_seconds: float = 60.0
