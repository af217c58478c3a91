"""What is there, what would go, and why the rest stays: as a table for people and as JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from snac_exp.cleaning.plan import Move, stays
from snac_exp.cleaning.survey import Candidate, Survey
from snac_exp.cleaning.usage import KINDS, OTHER, Usage


@dataclass(frozen=True)
class Line:
    """A run, a sweep without its jobs, a job, or what is no run. goes: bytes that would go. why: it stays."""

    name: str
    kind: str
    state: str
    num_bytes: dict[str, int]
    goes: int
    why: list[str]


def lines_of(found: Survey, moves: Sequence[Move]) -> list[Line]:
    """A line for everything, sweeps before their jobs, the rest last."""
    gone = {move.path: move.num_bytes for move in moves}
    lines = []
    for candidate in found.candidates:
        whole = candidate.path.relative_to(found.outputs) in gone
        kind = "sweep" if candidate.is_sweep else "run"
        lines.append(_line(candidate, found.outputs, kind, candidate.usage.total if whole else 0, candidate.reasons))
        for job in candidate.jobs:
            inside = job.path.relative_to(found.outputs)
            parts = sum(size for path, size in gone.items() if inside in path.parents)
            why = [] if whole or parts else [stays(job) or "it has no large part"]
            lines.append(_line(job, found.outputs, "job", job.usage.total if whole else parts, why))
    others = [(name, usage) for name, usage in found.others.items() if usage.total]
    return [*lines, *(Line(name, OTHER, "", usage.num_bytes, 0, ["it is no run"]) for name, usage in others)]


def _line(item: Candidate, outputs: Path, kind: str, goes: int, why: Sequence[str]) -> Line:
    name = str(item.path.relative_to(outputs))
    if kind == "sweep" and not goes and not why:
        why = ["a job of it stays"]
    return Line(name, kind, item.state, item.usage.num_bytes, goes, list(why))


def as_json(
    found: Survey, lines: Sequence[Line], moves: Sequence[Move], done: tuple[str, list[str]] | None = None
) -> str:
    """The same for programs; sizes in bytes. done: the id in the trash, and what stayed after all."""
    return json.dumps(
        {
            "folder": str(found.outputs),
            "would_free": sum(move.num_bytes for move in moves),
            "moves": [str(move.path) for move in moves],
            "trash": None if done is None else done[0],
            "left": [] if done is None else done[1],
            "lines": [vars(line) for line in lines],
        },
        indent=2,
        ensure_ascii=False,
    )


def as_table(lines: Sequence[Line], title: str) -> Table:
    """A row for each line, and the sum; kinds of which there is nothing are left out."""
    total = Usage()
    for line in lines:
        total.add(Usage(dict(line.num_bytes)))
    kinds = [kind for kind in KINDS if total.num_bytes[kind]]
    table = Table(title=escape(title), show_footer=True)
    table.add_column("what", "all", overflow="fold", min_width=20)
    table.add_column("state")
    for kind in kinds:
        table.add_column(kind, size_text(total.num_bytes[kind]), justify="right", no_wrap=True)
    table.add_column("goes", size_text(sum(line.goes for line in lines)), justify="right", no_wrap=True, style="yellow")
    table.add_column("why it stays", overflow="fold", min_width=20)
    for line in lines:
        sizes = (size_text(line.num_bytes[kind]) for kind in kinds)
        table.add_row(escape(line.name), escape(line.state), *sizes, size_text(line.goes), escape("; ".join(line.why)))
    return table


def size_text(num_bytes: int) -> str:
    """1234567 -> 1.2 MB; nothing for 0."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B" if num_bytes else ""
