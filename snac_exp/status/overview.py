"""All runs and sweeps below a folder, one line each, with their current state."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.metrics.levels import silence_in
from snac_exp.status.folders import runs_and_sweeps
from snac_exp.sweeps.job_state import best_of
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.sweeps.sweep import Sweep
from snac_exp.tracking.json_files import read_plan
from snac_exp.tracking.labels.shown import labels_or_damage
from snac_exp.tracking.labels.stored import Note
from snac_exp.tracking.metrics_file import lines_of_kind
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import RunState, queue_states, run_state, slurm_job, status_of
from snac_exp.tracking.sweep_folder import SweepFolder

TAIL_BYTES = 1 << 16  # of metrics.jsonl: the last training lines


@dataclass(frozen=True, kw_only=True)
class Line:
    """One run. Seconds, audio-seconds per second; None where it is not known (yet)."""

    run: str
    sweep: str | None
    state: str
    epoch: int | None = None
    num_epochs: int | None = None
    step: int | None = None
    num_steps: int | None = None
    loss: float | None = None
    best: float | None = None
    metric: str
    audio_seconds_per_second: float | None = None
    eta_seconds: float | None = None
    heartbeat_seconds: float | None = None
    attempts: int = 0
    host: str | None = None
    cluster: str | None = None  # slurm, or local for submitit without SLURM
    slurm_id: str | None = None  # of the job there
    slurm_state: str | None = None
    error: str | None = None
    warning: str | None = None
    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class RunEntry:
    """A run folder, with its sweep, its row in the ledger and its job in a queue (id, cluster) where it has them.

    `damage` says why it, or the sweep at `run_dir`, cannot be read.
    """

    run_dir: Path
    sweep: Sweep | None = None
    row: Row | None = None
    job: str | None = None
    cluster: str = ""
    damage: str | None = None


def overview(folder: Path) -> list[Line]:
    """A line for every run below a folder, newest last; ledgers of sweeps on the way are brought up to date where
    they may be written.

    A run or a sweep with a damaged file has the state `unreadable`, and does not hide the others.
    """
    found = [item for path in runs_and_sweeps(folder) for item in _runs_in(path)]
    # One question to SLURM for all runs, since every call takes long and loads the cluster.
    queue = queue_states({item.job: item.cluster for item in found if item.job is not None})
    return [_line(folder, item, queue) for item in found]


def with_tags(lines: Sequence[Line], tags: Sequence[str]) -> list[Line]:
    """The lines of runs that have all of these tags.

    Raises:
        ConfigError: no run has one of them; names the nearest there is.
    """
    known = {tag for line in lines for tag in line.tags}
    for tag in tags:
        if tag not in known:
            raise ConfigError(f"no run has the tag '{tag}'{nearest(tag, known)}")
    return [line for line in lines if set(tags) <= set(line.tags)]


def _runs_in(path: Path) -> list[RunEntry]:
    """The runs of a sweep, or the one run."""
    try:
        if SweepFolder(path).exists:
            sweep = Sweep(path)
            return [_of_sweep(sweep.run_dir(row), sweep, row) for row in sweep.look()]
        parent = path.resolve().parent
        if not SweepFolder(parent).exists:
            return [RunEntry(path, job=slurm_job(status_of(path)), cluster="slurm")]
        sweep = Sweep(parent)
        row = next((row for row in sweep.look() if row.run_dir == path.resolve().name), None)
        return [_of_sweep(path, sweep, row)]
    except ConfigError as error:
        return [RunEntry(path, damage=str(error))]


def _of_sweep(run_dir: Path, sweep: Sweep, row: Row | None) -> RunEntry:
    if row is None:
        return RunEntry(run_dir, sweep)
    return RunEntry(run_dir, sweep, row, row.slurm_id, row.cluster or "")


def _line(folder: Path, item: RunEntry, queue: dict[str, str]) -> Line:
    blank = Line(
        run=os.path.relpath(item.run_dir.resolve(), folder.resolve()),
        sweep=None if item.sweep is None else str(item.sweep.path),
        metric=(item.sweep.settings if item.sweep is not None else SweepSettings()).metric,
        cluster=item.cluster if item.job else None,
        slurm_id=item.job,
        slurm_state=queue.get(item.job) if item.job else None,
        state="unreadable",
        error=item.damage,
    )
    if item.damage is not None:
        return blank
    # Only a warning where they are damaged: such a run may go on, and can be stopped.
    labels, damage = labels_or_damage(RunFolder(item.run_dir))
    blank = replace(blank, tags=labels.tags, notes=labels.notes, warning=damage)
    try:
        return _filled(blank, item)
    except ConfigError as error:
        return replace(blank, error=str(error))


def _filled(blank: Line, item: RunEntry) -> Line:
    run_dir, row = item.run_dir, item.row
    status = status_of(run_dir) or {}
    # The ledger was refreshed a moment ago and knows the state; a run that is in no sweep is asked.
    found = RunState(row.state, row.error) if row is not None else run_state(status or None, blank.slurm_state)
    last = _last_training_lines(RunFolder(run_dir).metrics)
    newest = last[-1] if last else {}
    step, num_steps = newest.get("step", status.get("step")), status.get("num_steps")
    plan = read_plan(RunFolder(run_dir).plan)
    return replace(
        blank,
        state=found.state,
        epoch=newest.get("epoch", status.get("epoch")),
        num_epochs=plan["epochs"][-1]["epoch"] if plan.get("epochs") else None,
        step=step,
        num_steps=num_steps or plan.get("num_steps"),
        loss=newest.get("train/loss"),
        best=best_of(run_dir, item.sweep.settings if item.sweep is not None else SweepSettings()),
        audio_seconds_per_second=newest.get("speed/audio_seconds_per_second"),
        eta_seconds=seconds_left(status, paces_of(last), step, num_steps or plan.get("num_steps"), found.state),
        # Never negative, although another machine's clock may be ahead.
        heartbeat_seconds=max(0.0, time.time() - status["heartbeat"]) if "heartbeat" in status else None,
        attempts=int(status.get("attempts", 0)),
        host=status.get("host"),
        error=found.error,
        warning="; ".join(filter(None, (_silence(RunFolder(run_dir).metrics), blank.warning))) or None,
    )


def _silence(path: Path) -> str | None:
    """Which heads the last validation found far below their targets."""
    last = next(reversed(_last_lines(path, "validation")), None)
    return None if last is None else silence_in(last)


def _last_training_lines(path: Path) -> list[dict[str, Any]]:
    return _last_lines(path, "train")


def _last_lines(path: Path, kind: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = file.read()
    # The piece begins inside a line, unless it is the whole file.
    begun = text.partition(b"\n")[2] if len(text) == TAIL_BYTES else text
    return lines_of_kind(path, begun, kind)


def paces_of(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """Seconds per step that training lines say."""
    return [line["speed/step_seconds"] for line in lines if line.get("speed/step_seconds") is not None]


def seconds_left(
    status: Mapping[str, Any], paces: Sequence[float], step: int | None, num_steps: int | None, state: str
) -> float | None:
    """Of a running one: what it says itself, and until then the mean of `paces`, seconds per step of late."""
    if state != "running":
        return None
    # Said at the last heartbeat, and so older by now.
    if status.get("seconds_left") is not None:
        return max(0.0, float(status["seconds_left"]) - (time.time() - float(status["heartbeat"])))
    if not paces or step is None or num_steps is None:
        return None
    return float((num_steps - step) * sum(paces) / len(paces))
