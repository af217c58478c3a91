"""The ledger of a sweep: one line of JSON per job, rewritten whole, so a reader sees the old one or the new one."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from snac_exp.errors import ConfigError
from snac_exp.system.checksums.json_digest import signed, verified
from snac_exp.system.files import write_text
from snac_exp.system.locks import one_at_a_time
from snac_exp.tracking.sweep_folder import SweepFolder


@dataclass
class Row:
    """One job. `overrides` are those in which jobs differ; `run_dir` is relative to the sweep folder."""

    job: int
    hash: str
    overrides: list[str]
    run_dir: str
    state: str = "queued"
    slurm_id: str | None = None
    cluster: str | None = None  # slurm, or local for submitit without SLURM; None: a process of the driver
    submitted: float | None = None  # seconds since the epoch
    attempts: int = 0
    best: float | None = None
    error: str | None = None

    @property
    def title(self) -> str:
        """How messages name the job."""
        return f"job {self.job} ({' '.join(self.overrides) or 'as it stands'})"


_COUNT = "num_jobs"
"""Beside the fields of a row: how many lines the ledger has, so that none is lost without a word."""


def read_ledger(folder: SweepFolder) -> list[Row]:
    """All jobs in order; none before the first was written.

    Raises:
        ConfigError: a line is damaged or missing.
    """
    path = folder.ledger
    if not path.exists():
        return []
    rows, counts = [], set()
    # A broken byte does not end the reading: a line that is no JSON is named below.
    *lines, rest = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate([*lines, rest] if rest else lines, start=1):
        if not line:
            continue  # a person has left this job out
        try:
            values = verified(json.loads(line))
            counts.add(values.pop(_COUNT, None))  # None: of a version that did not count
            rows.append(_row(values))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"{path}: line {number} is damaged ({error}); restore it, or leave the line empty: its job is then "
                "left out"
            ) from error
    if not lines or counts - {None, len(lines)}:
        raise ConfigError(f"{path} is damaged: lines are missing or were added, it has {len(lines)}; restore it")
    return rows


def _row(values: dict[str, Any]) -> Row:
    """A row of these fields.

    Raises:
        TypeError: one is unknown, missing, or of another type.
    """
    row = Row(**values)
    texts = (row.hash, row.run_dir, row.state)
    numbers = (row.job, row.attempts)
    optional_texts, optional_numbers = (row.slurm_id, row.cluster, row.error), (row.submitted, row.best)
    fits = (
        all(isinstance(item, str) for item in (*texts, *row.overrides))
        and all(isinstance(item, int) for item in numbers)
        and all(item is None or isinstance(item, str) for item in optional_texts)
        and all(item is None or isinstance(item, int | float) for item in optional_numbers)
    )
    if not fits or not isinstance(row.overrides, list):
        raise TypeError("a field has another type")
    return row


def update_ledger(folder: SweepFolder, change: Callable[[list[Row]], list[Row]]) -> list[Row]:
    """Apply a change to all rows, one process at a time; returns the rows written."""
    with one_at_a_time(folder.ledger_lock):
        before = read_ledger(folder)
        rows = change([Row(**asdict(row)) for row in before])
        if rows != before:
            values = (signed(asdict(row) | {_COUNT: len(rows)}) for row in rows)
            write_text(folder.ledger, "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in values))
    return rows
