"""A run folder as a reader finds it: whatever is there yet, and the state of the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snac_exp.report.charts.series import Metrics, read_series
from snac_exp.report.listening.clips import Clip, find_clips
from snac_exp.tracking.json_files import read_object, read_plan
from snac_exp.tracking.labels.shown import Labels, labels_or_damage
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import current_state


@dataclass(frozen=True, eq=False)
class Record:
    """What a run folder holds; empty where a run has not come so far.

    state, error: see snac_exp.tracking.run_state. traceback: of a run that failed. labels_damage: why tags and notes
    of people cannot be read.
    """

    path: Path
    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    state: str
    error: str | None
    traceback: str | None
    status: Mapping[str, Any]
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    metrics: Metrics
    clips: tuple[Clip, ...]
    log: str
    labels: Labels = field(default_factory=Labels)
    labels_damage: str | None = None

    @property
    def name(self) -> str:
        """Of the recipe."""
        return str(self.config.get("name") or self.path.name)

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return max(self.metrics.last_steps.values(), default=0)

    @property
    def num_steps(self) -> int | None:
        """Steps of the whole plan."""
        number = self.plan.get("num_steps") or self.status.get("num_steps")
        return None if number is None else int(number)


def read_record(path: Path) -> Record:
    """Read a run folder.

    Raises:
        ConfigError: there is no run, or a file of it is damaged.
    """
    folder = RunFolder.open(path)
    status = folder.status() or {}
    # Not from the file alone: a killed process leaves a status that still says running.
    state = current_state(path)
    labels, damage = labels_or_damage(folder)
    return Record(
        path=path.resolve(),
        config=folder.values(),
        overrides=tuple(folder.stored_overrides()),
        state=state.state,
        error=state.error,
        traceback=str(status.get("error") or "").strip() or None,
        status=status,
        plan=read_plan(folder.plan),
        environment=_object(folder.environment),
        summary=_object(folder.summary),
        metrics=read_series(folder.metrics),
        clips=tuple(find_clips(folder.samples)),
        log=_text(folder.log),
        labels=labels,
        labels_damage=damage,
    )


def record_without_run(path: Path) -> Record:
    """Of a job that has no run: it was refused before it began, or its folder was moved away."""
    metrics = read_series(RunFolder(path).metrics)
    return Record(path.resolve(), {}, (), "lost", None, None, {}, {}, {}, {}, metrics, (), "")


def _object(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}


def _text(path: Path) -> str:
    # A log may hold bytes of any program that wrote to it.
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
