"""What the doctor says: one sentence per finding, problems and notes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

MAX_NAMED = 4  # subjects that one sentence names before it only counts


@dataclass(frozen=True)
class Finding:
    """A problem makes the checkpoint unhealthy; a note is something to know.

    check: what was looked at. subject: the tensor, group or file.
    """

    severity: Literal["problem", "note"]
    check: str
    subject: str
    text: str


def problem(check: str, subject: str, text: str) -> Finding:
    """Something is broken."""
    return Finding("problem", check, subject, text)


def note(check: str, subject: str, text: str) -> Finding:
    """Nothing is broken by it."""
    return Finding("note", check, subject, text)


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """Those that count."""
    return [item for item in findings if item.severity == "problem"]


def named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
