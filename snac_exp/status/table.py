"""The lines of an overview as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from snac_exp.status.overview import Line

COLUMNS = (
    "run",
    "state",
    "epoch",
    "step",
    "loss",
    "best",
    "audio-s/s",
    "left",
    "heartbeat",
    "SLURM",
    "tags",
    "note",
    "warning",
    "last error",
)
LEAST_NEEDED = (
    "note",
    "heartbeat",
    "epoch",
    "audio-s/s",
    "loss",
    "left",
    "SLURM",
    "tags",
)  # left out in this order on a narrow terminal
WIDE, MIN_WIDTH = ("run", "tags", "note", "warning", "last error"), 20  # columns of text, folded to this at least
STYLES = {
    "running": "green",
    "finished": "blue",
    "pruned": "blue",
    "failed": "red",
    "lost": "red",
    "cancelled": "yellow",
    "unreadable": "red",
}


def as_json(lines: Sequence[Line]) -> str:
    """The same lines for machines."""
    return json.dumps([asdict(line) for line in lines], indent=2, ensure_ascii=False)


def as_table(lines: Sequence[Line], title: str, width: int) -> Table:
    """The same lines for people; columns that would be empty are left out, and some where `width` is too small."""
    columns: dict[str, list[str]] = {name: [cells[name] for cells in map(_cells, lines)] for name in COLUMNS}
    shown = {name: cells for name, cells in columns.items() if any(cells) or name in ("run", "state")}
    for name in LEAST_NEEDED:
        if _needed(shown) <= width:
            break
        shown.pop(name, None)
    table = Table(title=escape(title))
    for name in shown:
        wide, left = name in WIDE, name in (*WIDE, "state", "SLURM")
        table.add_column(
            name,
            justify="left" if left else "right",
            overflow="fold",
            no_wrap=not wide,
            min_width=MIN_WIDTH if wide else None,
        )
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*cells)
    return table


def _needed(columns: Mapping[str, Sequence[str]]) -> int:
    """Terminal columns without which text would be cut off."""
    widths = (max(cell_len(Text.from_markup(cell).plain) for cell in (name, *cells)) for name, cells in columns.items())
    # Each column is drawn with two blanks and a border, and the table with one border more.
    return sum((MIN_WIDTH if name in WIDE else width) + 3 for name, width in zip(columns, widths, strict=True)) + 1


def _cells(line: Line) -> dict[str, str]:
    speed, style = line.audio_seconds_per_second, STYLES.get(line.state, "default")
    return {
        "run": escape(line.run),
        "state": f"[{style}]{escape(line.state)}[/]",
        "epoch": _of(line.epoch, line.num_epochs),
        "step": _of(line.step, line.num_steps),
        "loss": _number(line.loss),
        "best": _number(line.best),
        "audio-s/s": "" if speed is None else f"{speed:.1f}",
        "left": _duration(line.eta_seconds),
        "heartbeat": _duration(line.heartbeat_seconds),
        "SLURM": " ".join(filter(None, (line.slurm_id, line.slurm_state))) if line.cluster == "slurm" else "",
        "tags": escape(" ".join(line.tags)),
        "note": escape(line.notes[-1].text if line.notes else ""),
        "warning": escape(line.warning or ""),
        "last error": escape(line.error or ""),
    }


def _of(done: int | None, total: int | None) -> str:
    return "" if done is None else f"{done}/{'?' if total is None else total}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))
