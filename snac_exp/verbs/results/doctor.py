"""Examine a checkpoint: values, weight norm, optimizer moments, averages, codebooks, losses; and what to go back to.

usage: snac-exp doctor CHECKPOINT|RUN|OWNER/NAME [against=OTHER] [format=table|json]

Opens checkpoints of this program and plain state dicts (torch or safetensors); files that would run code are refused.
Exit status: 0 healthy, 1 not, 2 there is nothing to look at.

What is examined: values and weight norm of all tensors; growth and frozen parts relative to the run's oldest
checkpoint, if it is kept; optimizer moments, against the values that AdamW can produce; averaged weights against the
weights; codebooks, by the codes counted in validation (if there are ten per entry), by entries that received no
gradient for a thousand steps, and by entries of equal direction; divergence, in metrics.jsonl and status.json. The last
good checkpoint is the newest earlier one whose SHA-256 is that in latest.json and whose own tensors and moments are
sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snac_exp.config.arguments import is_path, quoted, unquoted
from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.system.terminal import console


@dataclass(frozen=True)
class Options:
    """The keys of conf/doctor.yaml."""

    checkpoint: str
    against: str | None
    format: Literal["table", "json"]


def main(arguments: Sequence[str]) -> int:
    """Examine, report; 0 if healthy."""
    options = structure(Options, verb_values("doctor", [_keyed(item) for item in arguments]))
    against = None if options.against is None else Path(options.against).expanduser()
    from snac_exp.doctor.examine import examine
    from snac_exp.doctor.report import as_json, as_text

    report = examine(Path(options.checkpoint).expanduser(), against)
    if options.format == "json":
        print(as_json(report))
    else:
        console().print(as_text(report), highlight=False)
    return 0 if report.healthy else 1


def _keyed(argument: str) -> str:
    """A path alone is the checkpoint; the path of `against` is quoted, as Hydra does not know that it is one."""
    if is_path(argument):
        return f"checkpoint={argument}"
    name, _, value = argument.partition("=")
    return f"against={quoted(unquoted(value))}" if name == "against" and value != "null" else argument
