"""How one job of a sweep stands: its state, and the best value of the sweep's metric so far."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.system.slurm_queue import ACTIVE
from snac_exp.tracking.metrics_file import lines_of_kind
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import DONE, RunState, run_state, status_of


def updated(row: Row, run_dir: Path, settings: SweepSettings, queue: Mapping[str, str]) -> Row:
    """The row as its job is now; what cannot be read of one job is its error, and does not hide the others."""
    try:
        _update_state(row, run_dir, queue)
    except ConfigError as error:
        row.state, row.error, row.best = "failed", str(error), None
        return row
    try:
        row.best = best_of(run_dir, settings)
    except ConfigError as error:
        row.best, row.error = None, str(error)
    return row


def _update_state(row: Row, run_dir: Path, queue: Mapping[str, str]) -> None:
    in_queue = queue.get(row.slurm_id) if row.slurm_id else None
    if not run_dir.exists() and in_queue not in ACTIVE:
        row.state, row.error = "lost", f"its run folder is gone: {run_dir}"
        return
    status = status_of(run_dir)
    now = state_of_job(row, status, in_queue)
    row.state, row.error, row.attempts = now.state, now.error, int((status or {}).get("attempts", 0))


def state_of_job(row: Row, status: Mapping[str, Any] | None, in_queue: str | None) -> RunState:
    """The state of a job that has a run folder, by its status.json and its state in the queue."""
    # A run that is finished stays so, whatever was submitted afterwards.
    if status is not None and status["state"] not in DONE and status["heartbeat"] < (row.submitted or 0.0):
        status = None  # from before it was submitted again
    return run_state(status, in_queue)


def best_of(run_dir: Path, settings: SweepSettings) -> float | None:
    """The best value of the sweep's metric that a run has logged so far; None if it logged none.

    Raises:
        ConfigError: its metrics.jsonl is damaged.
    """
    path = RunFolder(run_dir).metrics
    if not path.exists():
        return None
    # Validation alone: the loss of training batches is noise, and its lowest value luck.
    lines = lines_of_kind(path, path.read_bytes(), "validation")
    values = [float(line[settings.metric]) for line in lines if line.get(settings.metric) is not None]
    # NaN compares false with everything, so `min` would keep it wherever it came first.
    return min((v for v in values if math.isfinite(v)), key=lambda value: settings.sign * value, default=None)
