"""The ledger of a sweep: one line of JSON per job, rewritten whole, so a reader sees the old one or the new one."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from snac_exp.errors import ConfigError
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


def read_ledger(folder: SweepFolder) -> list[Row]:
    """All jobs in order; none before the first was written.

    Raises:
        ConfigError: a line is damaged.
    """
    path = folder.ledger
    if not path.exists():
        return []
    rows = []
    # A broken byte does not end the reading: a line that is no JSON is named below.
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{path}: line {number} is damaged ({error}); restore it, or remove it: its job is then left out"
            ) from error
    return rows


def update_ledger(folder: SweepFolder, change: Callable[[list[Row]], list[Row]]) -> list[Row]:
    """Apply a change to all rows, one process at a time; returns the rows written."""
    # Read and written under one lock: a change between the two would be lost.
    with one_at_a_time(folder.ledger_lock):
        before = read_ledger(folder)
        # On copies, since `before` must stay what the file holds.
        rows = change([Row(**asdict(row)) for row in before])
        # Watchers refresh every few seconds; a ledger without news is not written again.
        if rows != before:
            lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
            write_text(folder.ledger, "".join(lines))
    return rows
