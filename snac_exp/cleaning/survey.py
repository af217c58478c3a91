"""All runs and sweeps of an outputs folder with their sizes, and why some may not be moved, whatever the rules say."""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snac_exp.cleaning.liveness import holding, jobs_of, unended
from snac_exp.cleaning.references import RUN_NAME, referred
from snac_exp.cleaning.usage import Usage, usage_of
from snac_exp.errors import ConfigError
from snac_exp.status.folders import TRASH, runs_and_sweeps
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.sweep import Sweep
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import queue_states
from snac_exp.tracking.sweep_folder import SweepFolder

SWEEPS = "sweeps"


@dataclass
class Candidate:
    """A run, a job of a sweep (row: in its ledger) or a sweep (jobs: of it; usage: of all but them). reasons: why it
    stays; none where it goes."""

    path: Path
    usage: Usage
    row: Row | None = None
    jobs: list["Candidate"] = field(default_factory=list)
    sweep: Sweep | None = None
    state: str = ""
    reasons: list[str] = field(default_factory=list)

    @property
    def is_sweep(self) -> bool:
        """Whether it is a sweep, readable or not."""
        return SweepFolder(self.path).exists

    @property
    def total(self) -> Usage:
        """With its jobs."""
        found = Usage()
        for usage in (self.usage, *(job.usage for job in self.jobs)):
            found.add(usage)
        return found


@dataclass(frozen=True)
class Survey:
    """outputs: the folder, resolved. others: what is no run, by its first folder. queue: states of jobs by id."""

    outputs: Path
    candidates: list[Candidate]
    others: Mapping[str, Usage]
    queue: Mapping[str, str]


def survey(folder: Path, referrers: Sequence[Path]) -> Survey:
    """Look at everything; nothing is written. referrers: further folders whose files may name runs.

    Raises:
        ConfigError: it is no outputs folder, or a file that may name a run cannot be read.
    """
    outputs = require_outputs(folder)
    found = [_candidate(path) for path in runs_and_sweeps(outputs)]
    jobs: dict[str, str] = {}
    for item in _runs(found):
        jobs |= jobs_of(item.path, item.row)
    # One question for all, since every call takes long and loads the cluster.
    queue = queue_states(jobs)
    for candidate in found:
        _judge(candidate, outputs, queue)
    others = _others(outputs, frozenset(candidate.path for candidate in found))
    usages = [*others.values(), *(usage for item in found for usage in (item.usage, *(job.usage for job in item.jobs)))]
    sweeps = {item.path: [job.path for job in item.jobs] for item in found if item.is_sweep}
    runs = [*(item.path for item in found if not item.is_sweep), *(job for jobs in sweeps.values() for job in jobs)]
    named = referred(runs, sweeps, usages, referrers)
    for item in (one for candidate in found for one in (candidate, *candidate.jobs)):
        if item.path in named:
            item.reasons.append(f"{os.path.relpath(named[item.path], outputs)} refers to it")
    return Survey(outputs, found, others, queue)


def require_outputs(folder: Path) -> Path:
    """The folder, resolved.

    Raises:
        ConfigError: no run lies in it as runs do in an outputs folder, or it is, or lies in, a run, a sweep or a trash.
    """
    outputs = folder.resolve()
    for place in (outputs, *outputs.parents):
        if RunFolder(place).exists or SweepFolder(place).exists or place.name == TRASH:
            raise ConfigError(f"{folder} is, or lies in, a run, a sweep or a trash ({place}); give the outputs folder")
    trash = outputs / TRASH
    if trash.is_symlink() or (trash.exists() and not trash.is_dir()):
        raise ConfigError(f"{trash} is no folder of its own; remove it")
    if not trash.is_dir() and not any(_is_in_place(path, outputs) for path in _near(outputs)):
        raise ConfigError(
            f"{folder} is no outputs folder: no run lies in it as NAME/TIME-HASH, no sweep as {SWEEPS}/NAME/TIME-HASH"
        )
    return outputs


def _near(outputs: Path) -> Iterator[Path]:
    """Runs and sweeps where they are made: no folder is walked through before it is known for an outputs folder."""
    for path in itertools.chain(outputs.glob("*/*/"), outputs.glob(f"{SWEEPS}/*/*/")):
        if RunFolder(path).exists or SweepFolder(path).exists:
            yield path


def _is_in_place(path: Path, outputs: Path) -> bool:
    """Whether a run or a sweep lies where it was made, under the name it was given."""
    *above, name = path.relative_to(outputs).parts or ("",)
    in_place = above[:1] == [SWEEPS] and len(above) == 2 if SweepFolder(path).exists else len(above) == 1
    return in_place and re.fullmatch(RUN_NAME, name) is not None


def _candidate(path: Path) -> Candidate:
    if not SweepFolder(path).exists:
        return Candidate(path, usage_of(path))
    try:
        sweep = Sweep(path)
        rows = sweep.rows()
        wrong = next((row.run_dir for row in rows if Path(row.run_dir).name != row.run_dir), None)
        if wrong is not None:
            raise ConfigError(f"{sweep.ledger} names {wrong}, which does not lie in the sweep; restore it")
    except ConfigError as error:
        return Candidate(path, usage_of(path), state="unreadable", reasons=[str(error)])
    there = [row for row in rows if os.path.isdir(path / row.run_dir) and not os.path.islink(path / row.run_dir)]
    jobs = [Candidate(path / row.run_dir, usage_of(path / row.run_dir), row) for row in there]
    found = Candidate(path, usage_of(path, frozenset(job.path for job in jobs)), jobs=jobs, sweep=sweep)
    listed = {job.path for job in jobs}
    for inner in path.iterdir():
        if inner.is_symlink() or (RunFolder(inner).exists and inner not in listed):
            found.reasons.append(f"{inner.name} in it is not in its ledger")
    return found


def _runs(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    for candidate in candidates:
        yield from candidate.jobs if candidate.is_sweep else [candidate]


def _judge(candidate: Candidate, outputs: Path, queue: Mapping[str, str]) -> None:
    if not _is_in_place(candidate.path, outputs):
        candidate.reasons.append("it does not lie, or is not called, as a run does by itself")
    for item in (candidate, *candidate.jobs):
        if (held := holding(item.path)) is not None:
            item.reasons.append(held)
        if item.usage.unreadable is not None:
            item.reasons.append(item.usage.unreadable)
        if item.usage.leaving is not None:
            item.reasons.append(f"{item.usage.leaving.relative_to(item.path)} in it leads out of it")
        if os.lstat(item.path).st_dev != os.lstat(outputs).st_dev:
            item.reasons.append("it lies on another file system")
    for item in _runs([candidate]):
        item.state, why = unended(item.path, item.row, queue)
        item.reasons += [why] if why is not None else []


def _others(outputs: Path, units: frozenset[Path]) -> dict[str, Usage]:
    """What is no run: by the first folder, files of the outputs folder itself under its name `.`."""
    inner = [Path(entry.path) for entry in os.scandir(outputs) if entry.is_dir(follow_symlinks=False)]
    passed = units | {outputs / TRASH}
    found = {path.name: usage_of(path, passed) for path in sorted(inner) if path not in passed}
    return {".": usage_of(outputs, passed | {*inner}), **found}
