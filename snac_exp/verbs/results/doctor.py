"""Examine a checkpoint: values, weight norm, optimizer moments, averages, codebooks, losses; and what to go back to.

usage: snac-exp doctor CHECKPOINT|RUN|OWNER/NAME [against=OTHER] [format=table|json]

Opens checkpoints of this program and plain state dicts (torch or safetensors); files that would run code are refused.
Exit status: 0 healthy, 1 not, 2 there is nothing to look at.

What is concluded from what: values and weight norm from the tensors; growth and frozen parts against the run's oldest
checkpoint, where it is kept; moments from the optimizer's state, against what AdamW can have; averages against the
weights; codebooks from the codes that validation counted (if ten per entry), from entries that no gradient reached in a
thousand steps, and from entries of equal direction; a divergence from metrics.jsonl and status.json. The last good
checkpoint is the newest one before it whose SHA-256 is that of latest.json and whose own tensors and moments are sound.
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
