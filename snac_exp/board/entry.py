"""One run of the board: its files as far as they were read, and its row."""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from snac_exp.board.figures import Figures
from snac_exp.board.growing import GrowingMetrics
from snac_exp.board.inside import Inside, Kept
from snac_exp.config.arguments import unquoted
from snac_exp.config.stored import verify_stored
from snac_exp.errors import ConfigError
from snac_exp.status.overview import seconds_left
from snac_exp.sweeps.job_state import state_of_job
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.system.slurm_queue import ACTIVE
from snac_exp.tracking.json_files import read_plan
from snac_exp.tracking.labels.config_text import name_of, tags_of
from snac_exp.tracking.labels.shown import Labels, united
from snac_exp.tracking.labels.stored import StoredLabels, read_labels
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import DONE, RunState, run_state, slurm_job, status_of

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Place:
    """Where a run stands: its folder, and its sweep with its row in the ledger where it is a job of one.

    damage: why there is no more to know.
    """

    run_dir: Path
    sweep: Path | None = None
    settings: SweepSettings = field(default_factory=SweepSettings)
    row: Row | None = None
    damage: str | None = None


class Entry:
    """A run, which is looked at again and again; only what has changed is read."""

    def __init__(self, inside: Inside, place: Place) -> None:
        run_dir = place.run_dir
        self.place, self.folder = place, RunFolder(run_dir)
        self.path = os.path.relpath(run_dir, inside.folder)
        self.id = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        self.figures, self.job = Figures(), cast("str | None", None)
        self._title, self._sweep = _title(place), place.sweep and os.path.relpath(place.sweep, inside.folder)
        self._damage, self._lines_damage = place.damage or "", ""
        self._inside = inside
        self._metrics = GrowingMetrics(inside, self.folder.metrics)
        self._status = Kept(inside, self.folder.status_file, lambda: status_of(run_dir), None)
        self._about = Kept(inside, self.folder.config, self._read_about, ("", list[str]()))
        self._labels = Kept(inside, self.folder.labels, lambda: read_labels(self.folder), StoredLabels())
        self._overrides: Kept[list[str]] = Kept(inside, self.folder.overrides, self.folder.stored_overrides, [])
        self._plan: Kept[dict[str, Any]] = Kept(inside, self.folder.plan, lambda: read_plan(self.folder.plan), {})
        self._seen: dict[str, Any] = {}

    def look(self, place: Place, queue: Mapping[str, str]) -> bool:
        """Bring all but the metrics up to date; whether the row may be another. queue: states of jobs by their ids."""
        before, self.place = (self._seen, self._damage, self.place), place
        try:
            self._seen, self._damage = {} if place.damage else self._read(queue), place.damage or ""
        except ConfigError as error:
            self._seen, self._damage = {}, str(error)
        # The time that is left to a run that goes on is another one every time.
        return self._seen.get("state") == RunState("running") or before != (self._seen, self._damage, place)

    @property
    def updated(self) -> float:
        """Seconds since the epoch when the run last said something; 0 where it has said nothing."""
        return self._seen.get("updated") or 0.0

    def wants_reading(self) -> bool:
        """Whether metrics.jsonl may have grown."""
        if self.place.damage is not None:
            return False
        try:
            return self._metrics.changed()
        except ConfigError as error:
            self._lines_damage = str(error)
            return False

    def read_metrics(self) -> bool:
        """Take in the next piece of metrics.jsonl; whether there is more."""
        self._lines_damage = ""
        try:
            piece = self._metrics.read()
        except ConfigError as error:
            self._lines_damage = str(error)
            return False
        if piece.is_new:
            self.figures = Figures()
        for line in piece.lines:
            self.figures.add(line)
        return not piece.is_last

    def row(self) -> dict[str, Any]:
        """What the page shows of it, as JSON takes it; without metrics that are asked for by name."""
        settings, figures, seen = self.place.settings, self.figures, self._seen
        # Names in messages begin at the folder that is shown.
        damage = self._shown(self._damage or self._lines_damage)
        state: RunState = seen.get("state", RunState(UNREADABLE))
        step, num_steps = figures.step if figures.step is not None else seen.get("step"), seen.get("num_steps")
        left = seconds_left(seen.get("status", {}), figures.paces, step, num_steps, state.state)
        return {
            "id": self.id,
            "path": self.path,
            "sweep": self._sweep,
            "title": self._title,
            "recipe": seen.get("recipe", ""),
            "overrides": seen.get("overrides", []),
            "tags": seen.get("tags", []),
            "notes": seen.get("notes", []),
            "state": UNREADABLE if damage else state.state,
            "error": damage or state.error or self._shown(seen.get("labels_damage", "")) or None,
            "warning": figures.warning,
            "epoch": figures.epoch if figures.epoch is not None else seen.get("epoch"),
            "step": step,
            "num_steps": num_steps,
            "question": settings.question,
            "metric": settings.metric,
            "best": figures.best(settings.metric, settings.goal),
            "speed": figures.speed,
            "left": left,
            "updated": seen.get("updated"),
            "report": seen.get("report", False),
            "lines": figures.num_lines,
        }

    def _shown(self, message: str) -> str:
        return message.replace(f"{self._inside.folder}/", "")

    def config(self) -> dict[str, Any]:
        """The stored resolved config, all of it.

        Raises:
            ConfigError: there is none, it is damaged, or may not be read.
        """
        if self._inside.signature(self.folder.config) is None:
            raise ConfigError(f"{self.folder.config} is not there; restore it")
        return RunFolder(self.folder.path).values()

    def values(self, names: Sequence[str]) -> dict[str, float | None]:
        """Metrics by name: the best of validations, else the last."""
        return {name: self.figures.value(name) for name in names}

    def job_to_ask(self) -> tuple[str, str] | None:
        """The id and the cluster of a job whose state in the queue matters; a run that is done stays so."""
        if self.place.row is not None:
            row = self.place.row
            return None if row.slurm_id is None or row.state in DONE else (row.slurm_id, row.cluster or "")
        return None if self.job is None else (self.job, "slurm")

    def _read(self, queue: Mapping[str, str]) -> dict[str, Any]:
        status, row = self._status.get(), self.place.row
        done = status is not None and status["state"] in DONE
        self.job = None if done else slurm_job(status)
        known, (name, tags), given = status or {}, self._about.get(), self._overrides.get()
        num_steps = known.get("num_steps") or self._plan.get().get("num_steps")
        labels, labels_damage = self._read_labels(tags)
        return {
            "state": self._state(status, row, queue),
            "status": known,
            "recipe": _recipe(given) or name,
            "tags": list(labels.tags),
            "notes": [note.text for note in labels.notes],
            "labels_damage": labels_damage,
            "overrides": given if row is None else [*row.overrides, *(it for it in given if it not in row.overrides)],
            "step": known.get("step"),
            "epoch": known.get("epoch"),
            "num_steps": num_steps,
            "updated": self._updated(known),
            "report": self._inside.has(self.folder.report),
        }

    def _read_labels(self, tags: Sequence[str]) -> tuple[Labels, str]:
        """With those of the config; damage is told and hides nothing else of the run."""
        try:
            return united(tags, self._labels.get()), ""
        except ConfigError as error:
            return united(tags, StoredLabels()), str(error)

    def _read_about(self) -> tuple[str, list[str]]:
        """The recipe's name and the tags of the config, verified."""
        path, text = self.folder.config, verify_stored(self.folder.config)
        return name_of(path, text), tags_of(path, text)

    def _state(self, status: Mapping[str, Any] | None, row: Row | None, queue: Mapping[str, str]) -> RunState:
        if row is None:
            return run_state(status, queue.get(self.job or ""))
        in_queue = queue.get(row.slurm_id or "")
        if status is None and in_queue not in ACTIVE and not self.place.run_dir.is_dir():
            return RunState("lost", f"its run folder is gone: {self.place.run_dir}")
        return state_of_job(row, status, in_queue)

    def _updated(self, status: Mapping[str, Any]) -> float | None:
        """Seconds since the epoch: when the run last said something; never ahead of this machine's clock."""
        times = [status["heartbeat"]] if "heartbeat" in status else []
        metrics = self._inside.signature(self.folder.metrics)
        times += [metrics[1] / 1e9] if metrics is not None else []
        return min(max(times), time.time()) if times else None


def _title(place: Place) -> str:
    """What tells a run from others: what it varies in its sweep, else its folder."""
    varied = [] if place.row is None else place.row.overrides
    return " ".join(map(_short, varied)) or place.run_dir.name


def _short(override: str) -> str:
    """`lr.phases.main.groups.trunk=5e-5` by the last word of its key."""
    key, _, value = override.partition("=")
    return f"{key.lstrip('+~').rpartition('.')[2]}={unquoted(value)}" if value else override


def _recipe(overrides: Sequence[str]) -> str:
    """The file of conf/experiment/ that was chosen."""
    chosen = (item.partition("=") for item in overrides)
    return next((unquoted(value) for key, _, value in chosen if key.lstrip("+") == "experiment"), "")
