"""What a person at the terminal sees of a run, and RUN_DIR/train.log, which says the same in plain lines."""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TextIO

from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from snac_exp.system import terminal
from snac_exp.system.checksums.json_lines import signed_line
from snac_exp.system.paths.writing import append_line
from snac_exp.tracking.run_folder import RunFolder


class EpochLike(Protocol):
    """What is shown of an epoch of the plan."""

    @property
    def epoch(self) -> int: ...
    @property
    def stage(self) -> str: ...
    @property
    def phase(self) -> str: ...


class Console:
    """Live progress on a terminal, one line every few seconds elsewhere; train.log gets the lines in both cases.

    The remaining time is that of the steps done in this process: the curriculum keeps batch times segment length about
    constant, so that steps of all stages cost nearly the same.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        num_epochs: int,
        num_steps: int,
        out: TextIO | None = None,
        live: bool | None = None,
        every_seconds: float = 10.0,
        quiet: bool = False,
    ) -> None:
        """`live`: None asks whether `out` (default: standard output) is a terminal. quiet: show results and warnings
        only; the log gets everything.
        """
        self._quiet = quiet
        self._rich = terminal.Console(file=out or sys.stdout, force_terminal=live, soft_wrap=True)
        self._live = Live(console=self._rich, refresh_per_second=4, transient=True)
        self._is_live = self._rich.is_terminal and not quiet
        folder = RunFolder(Path(run_dir))
        self._notes = folder.notes
        self._log = folder.log
        self._num_epochs, self._num_steps = num_epochs, num_steps
        self._every_seconds = every_seconds
        self._head, self._num_batches = "start", 0
        self._last_line = float("-inf")  # so the first step is shown at once
        self._first: tuple[float, int] | None = None  # time and step of the first step in this process

    def begin(self, plan_text: str) -> None:
        """Show the plan and start the display."""
        self.note(plan_text)
        if self._is_live:
            self._live.start()

    def epoch(self, epoch: EpochLike, num_batches: int) -> None:
        """Start an epoch; its first step gets a line of its own."""
        self._head = f"epoch {epoch.epoch}/{self._num_epochs} {epoch.stage}/{epoch.phase}"
        self._num_batches = num_batches
        self._last_line = float("-inf")

    def step(self, step: int, batch: int, values: Mapping[str, float]) -> None:
        """Show one optimiser step.

        `step` and `batch` count what is done, in the run and in the epoch. `values` are named by section, as they are
        logged: `train/loss`, `train/head_48k/l1`, `lr/trunk`, `speed/data_wait_share`.
        """
        now = time.monotonic()
        self._first = self._first or (now, step)
        counts = [
            f"batch {batch}/{self._num_batches}",
            f"step {step}/{self._num_steps}",
            f"left {self._left(step)}",
        ]
        sections = _sections(values)
        if self._is_live:
            self._live.update(self._panel(batch, counts, sections))
        if now - self._last_line >= self._every_seconds:
            self._last_line = now
            self._line("  ".join([self._head, *counts, *_described(sections).values()]), shown=not self._is_live)

    def validated(self, values: Mapping[str, float]) -> None:
        """Show the metrics of a validation."""
        self.note(f"{self._head}  validation  {_pairs(values)}")

    def note(self, text: str, *, source: str | None = None, level: str = "info", step: int | None = None) -> None:
        """Show and log any text. With a `source` (preflight, guard, resume) it is also recorded in RUN_DIR/notes.jsonl,
        which, unlike metrics.jsonl, is never cut back; levels are ok, info, warning and error.
        """
        self._line(text, shown=not self._quiet or level in ("warning", "error"))
        if source is not None:
            note = {"time": round(time.time(), 3), "step": step, "source": source, "level": level, "text": text}
            append_line(self._notes, signed_line(note))

    def result(self, text: str) -> None:
        """Show and log what the run came to, in quiet mode too."""
        self._line(text, shown=True)

    def took(self, epoch_seconds: float, total_seconds: float) -> None:
        """Show how long an epoch and the run so far took, over all attempts."""
        epoch, total = (timedelta(seconds=round(seconds)) for seconds in (epoch_seconds, total_seconds))
        self.note(f"{self._head}  took {epoch}, {total} in all")

    def end(self) -> None:
        """Stop the display; safe to call twice."""
        self._live.stop()

    def _line(self, text: str, *, shown: bool) -> None:
        # Whoever follows the log sees every line, and a killed run has lost none.
        append_line(self._log, f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}")
        if shown:
            # markup=False: names of runs and messages may hold brackets.
            self._rich.print(text, markup=False, highlight=False)

    def seconds_left(self, step: int) -> float | None:
        """Estimated time to the end of the run, validations included; unknown at the first step of a process."""
        if self._first is None or step <= self._first[1]:
            return None
        started, first_step = self._first
        return (time.monotonic() - started) / (step - first_step) * (self._num_steps - step)

    def _left(self, step: int) -> str:
        seconds = self.seconds_left(step)
        return "?" if seconds is None else str(timedelta(seconds=round(seconds)))

    def _panel(self, batch: int, counts: list[str], sections: dict[str, dict[str, float]]) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_row(escape(self._head), ProgressBar(total=max(self._num_batches, 1), completed=batch, width=40))
        table.add_row("", escape("  ".join(counts)))
        for name, text in _described(sections).items():
            table.add_row(escape(name), escape(text.removeprefix(f"{name} ")))
        return table


def _sections(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Group by all but the last part of the name: `train/head_48k/l1` -> `head_48k: l1`, `lr/trunk` -> `lr: trunk`."""
    grouped: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        section, _, short = name.removeprefix("train/").rpartition("/")
        grouped.setdefault(section, {})[short] = value
    return grouped


def _described(sections: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """One text per section, each beginning with the section's name."""
    return {
        name: " ".join(filter(None, (name, _speed(values) if name == "speed" else _pairs(values))))
        for name, values in sections.items()
    }


def _pairs(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _speed(speed: Mapping[str, float]) -> str:
    parts = []
    if "audio_seconds_per_second" in speed:
        parts.append(f"{speed['audio_seconds_per_second']:.1f} s audio/s")
    if "data_wait_share" in speed:
        parts.append(f"data wait {speed['data_wait_share']:.0%}")
    return "  ".join(parts)
