"""The folder of a sweep: its jobs, its ledger, the snapshot they run from, and how it all goes.

output_dir/sweeps/NAME/TIME-HASH/
    sweep.json ledger.jsonl commit.txt uncommitted.diff code/ HASH_OF_JOB/ HASH_OF_JOB/ …
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.files import read_json, write_json
from snac_exp.runs.jobs import sweep_hash
from snac_exp.runs.ledger import LEDGER_FILE, Row, read_ledger, update_ledger
from snac_exp.runs.snapshot import take_snapshot
from snac_exp.runs.truth import FINAL, queue_states, status_of, truth
from snac_exp.tracking.run_folder import RunFolder, exclusive_folder
from snac_exp.tracking.slurm_queue import ACTIVE

SWEEP_FILE = "sweep.json"
Goal = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Question:
    """What a sweep asks: the node `sweep` of conf/sweep/NAME.yaml, or this default for a free-form one."""

    name: str | None = None
    metric: str = "val/objective"
    goal: Goal = "minimize"
    question: str | None = None


class AnyJob(Protocol):
    """What a sweep must know of a job to make its folder."""

    @property
    def index(self) -> int: ...
    @property
    def overrides(self) -> list[str]: ...
    @property
    def varied(self) -> list[str]: ...
    @property
    def values(self) -> dict[str, Any]: ...
    @property
    def hash(self) -> str: ...


class Sweep:
    """A sweep on disk. All that is needed to go on with it lies in its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        facts = read_json(path / SWEEP_FILE)
        self.question = structure(Question, facts["question"])
        self.backend: dict[str, Any] = facts["backend"]
        self.search: dict[str, Any] | None = facts.get("search")  # of Bayesian search, else all jobs are known
        self.directory = Path(facts["directory"])
        self.code = path / "code"

    @classmethod
    def open(cls, path: Path) -> "Sweep":
        """An existing sweep.

        Raises:
            ConfigError: there is none.
        """
        if not (path / SWEEP_FILE).is_file():
            raise ConfigError(f"{path} is no sweep: it has no {SWEEP_FILE}; give the folder that the sweep printed")
        return cls(path.resolve())

    @classmethod
    def create(
        cls,
        jobs: Sequence[AnyJob],
        question: Question,
        backend: dict[str, Any],
        command: list[str],
        *,
        again: bool,
        search: dict[str, Any] | None = None,
    ) -> "Sweep":
        """A new folder with the snapshot in it; jobs follow with `add`. Of a `search` the jobs are the corners.

        Raises:
            ConfigError: the very same sweep is there already and `again` is not set.
        """
        values = jobs[0].values
        name = question.name or str(values["name"])
        meaning = [job.hash for job in jobs]
        if search is not None:  # the same search with more trials is the same search
            meaning.append(json.dumps({**search, "num_trials": None}, sort_keys=True))
        parent, digest = Path(str(values["output_dir"])) / "sweeps" / name, sweep_hash(meaning)
        earlier = sorted(path for path in parent.glob(f"*-{digest}*") if (path / SWEEP_FILE).is_file())
        if earlier and not again:
            raise ConfigError(
                f"the same sweep is there already: {earlier[-1]}. Go on with it: snac-exp sweep resume={earlier[-1]}; "
                "or add again=true to run all of it a second time"
            )
        path = exclusive_folder(parent, digest).resolve()
        take_snapshot(path)
        facts = {"question": asdict(question), "backend": backend, "directory": str(Path.cwd()), "command": command}
        write_json(path / SWEEP_FILE, facts | {"search": search, "created": time.time()})
        return cls(path)

    def add(self, jobs: Sequence[AnyJob]) -> list[Row]:
        """Make folders and ledger rows of jobs, or find those that are there already; returns the rows."""
        for job in jobs:
            if not (self.path / job.hash).exists():
                RunFolder.create(job.values, job.overrides, self.path / job.hash)
        new = [Row(job.index, job.hash, job.varied, job.hash) for job in jobs]

        def extended(rows: list[Row]) -> list[Row]:
            known = {row.hash for row in rows}
            return rows + [row for row in new if row.hash not in known]

        hashes = {job.hash for job in jobs}
        return [row for row in update_ledger(self.path, extended) if row.hash in hashes]

    def refuse(self, index: int, varied: list[str], reason: str) -> None:
        """Note a job that cannot be composed: it has failed before it could begin."""
        name = f"refused-{index}"
        (self.path / name).mkdir(exist_ok=True)
        RunFolder(self.path / name).set_status("failed", error=reason, attempts=0)
        update_ledger(self.path, lambda rows: [*rows, Row(index, name, varied, name, "failed", error=reason)])

    def set_num_trials(self, num_trials: int) -> None:
        """Change how many trials a search may make."""
        assert self.search is not None
        self.search["num_trials"] = num_trials
        write_json(self.path / SWEEP_FILE, read_json(self.path / SWEEP_FILE) | {"search": self.search})

    def run_dir(self, row: Row) -> Path:
        """The run folder of a job."""
        return self.path / row.run_dir

    def rows(self) -> list[Row]:
        """The ledger as it was last written."""
        return read_ledger(self.path)

    def refresh(self) -> list[Row]:
        """Bring the ledger up to the truth and return it."""
        queue = self.queue()
        return update_ledger(self.path, lambda rows: [self._refreshed(row, queue) for row in rows])

    def queue(self) -> dict[str, str]:
        """What the queue says of the jobs that were submitted and are not known to be finished, by their ids."""
        rows = [row for row in self.rows() if row.state != "finished"]
        return queue_states({row.slurm_id: row.cluster or "" for row in rows if row.slurm_id is not None})

    def submitted(self, ids: dict[str, str], cluster: str, when: float) -> None:
        """Note the queue's ids of jobs (hash -> id), submitted at `when` [s since the epoch]; one may be over by now."""

        def noted(rows: list[Row]) -> list[Row]:
            for row in rows:
                if row.hash in ids:
                    row.slurm_id, row.cluster, row.submitted, row.state = ids[row.hash], cluster, when, "queued"
            return rows

        update_ledger(self.path, noted)

    def to_run(self) -> list[Row]:
        """Jobs that are missing or failed: all but the finished, the running, the refused and what a queue holds."""
        queue = self.queue()
        return [
            row
            for row in self.refresh()
            if row.state not in ("finished", "running")
            and queue.get(row.slurm_id or "") not in ACTIVE
            and (self.run_dir(row) / "config.yaml").exists()
        ]

    def is_in_a_queue(self) -> bool:
        """Whether a queue holds any job: it waits, runs, or is being ended."""
        return bool(ACTIVE.intersection(self.queue().values()))

    def best(self) -> Row | None:
        """The job with the best value of the sweep's metric so far; None if nobody logged it."""
        measured = [row for row in self.rows() if row.best is not None]
        sign = 1 if self.question.goal == "minimize" else -1
        return min(measured, key=lambda row: sign * (row.best or 0.0), default=None)

    def is_at_rest(self) -> bool:
        """Whether nothing more happens by itself; a job that has saved is at rest once the queue lets go of it."""
        return all(row.state in FINAL for row in self.refresh()) and not self.is_in_a_queue()

    def _refreshed(self, row: Row, queue: dict[str, str]) -> Row:
        status = status_of(self.run_dir(row))
        attempts = int((status or {}).get("attempts", 0))
        if status is not None and row.submitted is not None and status["heartbeat"] < row.submitted:
            status = None  # from before it was submitted again
        found = truth(status, queue.get(row.slurm_id) if row.slurm_id else None)
        row.state, row.error, row.attempts = found.state, found.error, attempts
        row.best = best_of(self.run_dir(row), self.question)
        return row


def best_of(run_dir: Path, question: Question) -> float | None:
    """The best value of the sweep's metric that a run has logged so far; None if it logged none."""
    path = run_dir / "metrics.jsonl"
    if not path.exists():
        return None
    complete = path.read_bytes().rpartition(b"\n")[0].split(b"\n")
    lines = [json.loads(line) for line in complete if b'"validation"' in line]
    values = [float(line[question.metric]) for line in lines if line.get(question.metric) is not None]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    return min(values) if question.goal == "minimize" else max(values)


def outcome(sweep: Sweep) -> tuple[int, str]:
    """Exit status and last words: 0 when all jobs are finished, else 1 with each of the others named."""
    rows = sweep.refresh()
    unfinished = [row for row in rows if row.state != "finished"]
    lines = [f"{len(rows) - len(unfinished)} of {len(rows)} jobs finished: {sweep.path / LEDGER_FILE}"]
    lines += [f"{row.title} {row.state}: {row.error or 'no error'}; see {sweep.run_dir(row)}" for row in unfinished]
    missing = 0 if sweep.search is None else sweep.search["num_trials"] - len(rows)
    if missing > 0:
        lines.append(f"{missing} of {sweep.search['num_trials']} trials are not begun")  # type: ignore[index]
    if unfinished or missing > 0:
        lines.append(f"run what is missing or failed: snac-exp sweep resume={sweep.path}")
    best = sweep.best()
    if best is not None:
        lines.append(f"best {sweep.question.metric}: {best.best:.6g} by {best.title}")
    elif any((sweep.run_dir(row) / "metrics.jsonl").exists() for row in rows) and not unfinished:
        lines.append(f"no run has logged {sweep.question.metric}; the next sweep needs another sweep.metric")
    return (1 if unfinished or missing > 0 else 0), "\n".join(lines)
