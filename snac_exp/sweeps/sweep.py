"""The folder of a sweep: its jobs, its ledger and the snapshot they run from.

output_dir/sweeps/NAME/TIME-HASH/
    sweep.json ledger.jsonl commit.txt uncommitted.diff code/ jobs/ HASH_OF_JOB/ HASH_OF_JOB/ …
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.sweeps.job_state import updated
from snac_exp.sweeps.ledger import Row, read_ledger, update_ledger
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.sweeps.snapshot import take_snapshot
from snac_exp.system.files import remove_left, write_json, write_signed_json
from snac_exp.system.folder_lock import holder_of, locked
from snac_exp.system.slurm_queue import ACTIVE
from snac_exp.tracking.json_files import Shape, read_object, require_shape
from snac_exp.tracking.run_folder import RunFolder, exclusive_folder
from snac_exp.tracking.run_state import DONE, FINAL, queue_states
from snac_exp.tracking.sweep_folder import SweepFolder

ENDING_SECONDS = 120.0  # SLURM kills what does not leave by itself, after its KillWait of 30 s by default
POLL_SECONDS = 0.5

_SWEEP: Shape = {"question": dict, "backend": dict, "directory": str}


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


class Sweep(SweepFolder):
    """A sweep on disk. All that is needed to go on with it lies in its folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        stored = read_object(self.sweep_file, _SWEEP)
        try:
            self.settings = structure(SweepSettings, stored["question"])
        except ConfigError as error:
            raise ConfigError(f"{self.sweep_file} is damaged: {error}; restore it") from error
        self.backend: dict[str, Any] = stored["backend"]
        self.search: dict[str, Any] | None = stored.get("search")  # of Bayesian search, else all jobs are known
        if self.search is not None:
            require_shape(self.sweep_file, self.search, {"num_trials": int}, "its search")
        self.directory = Path(stored["directory"])  # from which it was begun, and in which its jobs run

    @classmethod
    def open(cls, path: Path) -> "Sweep":
        """An existing sweep.

        Raises:
            ConfigError: there is none, or its file is damaged.
        """
        folder = SweepFolder(path)
        if not folder.exists:
            raise ConfigError(
                f"{path} is no sweep: it has no {folder.sweep_file.name}; give the folder that the sweep printed"
            )
        return cls(path.resolve())

    @classmethod
    def create(
        cls,
        jobs: Sequence[AnyJob],
        settings: SweepSettings,
        backend: dict[str, Any],
        command: list[str],
        *,
        again: bool,
        search: dict[str, Any] | None = None,
    ) -> "Sweep":
        """A new folder with the snapshot and the jobs in it; of a `search` these are the corners, and its own follow.

        It is whole or absent: what a kill leaves is hidden, and goes with the next sweep of that name.

        Raises:
            ConfigError: the very same sweep is there already and `again` is not set.
        """
        # What all jobs share, such as output_dir, may be read from any of them.
        values = jobs[0].values
        name = settings.name or str(values["name"])
        meaning = [job.hash for job in jobs]
        if search is not None:  # the same search with more trials is the same search
            meaning.append(json.dumps({**search, "num_trials": None}, sort_keys=True))
        parent, digest = Path(str(values["output_dir"])) / "sweeps" / name, sweep_hash(meaning)
        earlier = sorted(path for path in parent.glob(f"[!.]*-{digest}*") if SweepFolder(path).exists)
        if earlier and not again:
            raise ConfigError(
                f"an identical sweep exists already: {earlier[-1]}. Continue it: snac-exp sweep resume={earlier[-1]}; "
                "or add again=true to run all of it a second time"
            )
        stored = {"question": asdict(settings), "backend": backend, "directory": str(Path.cwd()), "command": command}

        def fill(path: Path) -> None:
            folder = SweepFolder(path)
            take_snapshot(folder)
            write_signed_json(folder.sweep_file, stored | {"search": search, "created": time.time()})
            if search is None:
                cls(path).add(jobs)

        return cls(exclusive_folder(parent.resolve(), digest, fill))

    def add(self, jobs: Sequence[AnyJob]) -> list[Row]:
        """Make folders and ledger rows of jobs, or find those that are there already; returns the rows."""
        for job in jobs:
            # Beside the run folders, so that one that was deleted can be made again.
            write_signed_json(self._job_file(job.hash), {"overrides": job.overrides, "values": job.values})
            if not (self.path / job.hash).exists():
                self._make_folder(job.hash, job.overrides, job.values)
        new = [Row(job.index, job.hash, job.varied, job.hash) for job in jobs]

        def extended(rows: list[Row]) -> list[Row]:
            # A job that is listed already keeps its row, and with it its state.
            known = {row.hash for row in rows}
            return rows + [row for row in new if row.hash not in known]

        hashes = {job.hash for job in jobs}
        return [row for row in update_ledger(self, extended) if row.hash in hashes]

    def _make_folder(self, name: str, overrides: list[str], values: dict[str, Any]) -> None:
        folder = RunFolder.create(values, overrides, self.path / name)
        if isinstance(values.get("task"), list):  # a verb and its arguments, not a training
            write_json(folder.task, values["task"])  # for people; the job reads its config

    def _job_file(self, name: str) -> Path:
        return self.jobs / f"{name}.json"

    def _restored(self, row: Row) -> bool:
        """Whether a job has its run folder; one that was deleted is made again, to begin at its first step."""
        if not self.run_dir(row).exists() and self._job_file(row.hash).exists():
            stored = read_object(self._job_file(row.hash), {"overrides": list, "values": dict})
            self._make_folder(row.run_dir, stored["overrides"], stored["values"])
        return RunFolder(self.run_dir(row)).config.exists()

    def refuse_lost_code(self) -> None:
        """Jobs run from the snapshot; without it they would run whatever code is installed.

        Raises:
            ConfigError: the snapshot is gone.
        """
        if not (self.code / "snac_exp" / "__init__.py").is_file():
            raise ConfigError(
                f"{self.code}, the code that the jobs of this sweep run, is gone: restore it ({self.commit.name} and "
                f"{self.diff.name} beside it say what it was), or begin the sweep anew"
            )

    def refuse(self, index: int, varied: list[str], reason: str) -> None:
        """Note a job that cannot be composed: it has failed before it could begin."""
        name = f"refused-{index}"
        (self.path / name).mkdir(exist_ok=True)
        RunFolder(self.path / name).set_status("failed", error=reason, attempts=0)
        update_ledger(self, lambda rows: [*rows, Row(index, name, varied, name, "failed", error=reason)])

    def set_num_trials(self, num_trials: int) -> None:
        """Change how many trials a search may make."""
        assert self.search is not None
        self.search["num_trials"] = num_trials
        write_signed_json(self.sweep_file, read_object(self.sweep_file) | {"search": self.search})

    def run_dir(self, row: Row) -> Path:
        """The run folder of a job."""
        return self.path / row.run_dir

    def rows(self) -> list[Row]:
        """The ledger as it was last written."""
        return read_ledger(self)

    def refresh(self) -> list[Row]:
        """Bring the ledger up to date with the run folders and the queue, and return it."""
        # Asked before the ledger is locked: squeue may take seconds, and other processes wait for the lock.
        queue = self.queue()
        return update_ledger(self, lambda rows: self._updated(rows, queue))

    def look(self) -> list[Row]:
        """The same for who only reads: a ledger that this user may not write, as in an archive, stays as it is."""
        writable = os.access(self.path, os.W_OK)
        return self.refresh() if writable else self._updated(self.rows(), self.queue())

    def _updated(self, rows: list[Row], queue: dict[str, str]) -> list[Row]:
        return [updated(row, self.run_dir(row), self.settings, queue) for row in rows]

    def queue(self) -> dict[str, str]:
        """What the queue says of the jobs that were submitted and are not known to be done, by their ids."""
        # Only those that are done are certain to stay as they are; others may have been requeued.
        rows = [row for row in self.rows() if row.state not in DONE]
        return queue_states({row.slurm_id: row.cluster or "" for row in rows if row.slurm_id is not None})

    def submitted(self, ids: dict[str, str], cluster: str, when: float) -> None:
        """Note the queue's ids of jobs (hash -> id), submitted at `when` [s since the epoch]; one may be over."""

        def noted(rows: list[Row]) -> list[Row]:
            for row in rows:
                if row.hash in ids:
                    row.slurm_id, row.cluster, row.submitted, row.state = ids[row.hash], cluster, when, "queued"
            return rows

        update_ledger(self, noted)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from running or submitting jobs; this one may hold the sweep already.

        Raises:
            ConfigError: another process does; names it.
        """
        holder = holder_of(self.path)
        # A search holds its sweep while its pool asks again; a second lock of one process would wait for itself.
        if holder is not None and holder.pid == os.getpid() and holder.is_running_here():
            yield
            return
        with locked(self.path):
            yield

    def refuse_submitted(self, rows: Sequence[Row]) -> None:
        """To be asked while the sweep is held, of jobs that were chosen before.

        Raises:
            ConfigError: another process has submitted one since.
        """
        known = {row.hash: row for row in self.rows()}
        # Ids are compared, not states: a job that was submitted and has ended again looks as before.
        for row in rows:
            now = known[row.hash]
            if (now.slurm_id, now.submitted) != (row.slurm_id, row.submitted):
                raise ConfigError(
                    f"{row.title} was submitted by another process in the meantime, as {now.slurm_id}; nothing was "
                    f"submitted twice; look: snac-exp status {self.path}"
                )

    def to_run(self) -> list[Row]:
        """Jobs that are missing or failed: all but the finished, the pruned, the running, the refused and what a queue
        holds.

        Raises:
            ConfigError: there are some, and the code they should run is gone.
        """
        remove_left([*self.path.glob(".*.tmp"), *self.jobs.glob(".*.tmp")])  # of a killed driver
        queue = self.queue()
        rows = [
            row
            for row in self.refresh()
            if row.state not in DONE | {"running"}
            and queue.get(row.slurm_id or "") not in ACTIVE
            and self._restored(row)
        ]
        if rows:
            self.refuse_lost_code()
        return rows

    def wait_for_endings(self, seconds: float = ENDING_SECONDS) -> None:
        """Stay, at most so long, while a queue ends jobs that were cancelled: only then can they be submitted again."""
        end = time.monotonic() + seconds
        while "COMPLETING" in self.queue().values() and time.monotonic() < end:
            time.sleep(POLL_SECONDS)

    def is_in_a_queue(self) -> bool:
        """Whether a queue holds any job: it waits, runs, or is being ended."""
        return bool(ACTIVE.intersection(self.queue().values()))

    def best(self) -> Row | None:
        """The job with the best value of the sweep's metric so far; None if nobody logged it."""
        measured = [row for row in self.rows() if row.best is not None]
        return min(measured, key=lambda row: self.settings.sign * (row.best or 0.0), default=None)

    def is_at_rest(self) -> bool:
        """Whether nothing more happens by itself; a job that has saved is at rest once the queue lets go of it."""
        return all(row.state in FINAL for row in self.refresh()) and not self.is_in_a_queue()


def sweep_hash(hashes: Sequence[str]) -> str:
    """Six hexadecimal digits of what a sweep means, whatever the order of its jobs."""
    return hashlib.sha256(" ".join(sorted(hashes)).encode()).hexdigest()[:6]
