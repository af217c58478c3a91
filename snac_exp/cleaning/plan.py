"""What goes: whole runs, whole sweeps, and of jobs of sweeps that stay the large parts, never what tells of the job."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snac_exp.cleaning.survey import Candidate, Survey
from snac_exp.cleaning.usage import Usage, usage_of
from snac_exp.sweeps.ledger import Row
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import DONE


@dataclass(frozen=True)
class Move:
    """One folder or file that goes. path: below the outputs folder. runs: with their rows in ledgers, which are held
    meanwhile, as is the sweep. part_of: the run whose part it is."""

    path: Path
    num_bytes: int
    runs: tuple[tuple[Path, Row | None], ...]
    sweep: Path | None = None
    part_of: Path | None = None


def moves_of(found: Survey) -> list[Move]:
    """All that goes, of candidates without a reason to stay."""
    return [move for candidate in found.candidates for move in _moves(candidate, found.outputs)]


def _moves(candidate: Candidate, outputs: Path) -> Iterator[Move]:
    inside = candidate.path.relative_to(outputs)
    if not candidate.is_sweep:
        if not candidate.reasons:
            yield Move(inside, candidate.usage.total, ((candidate.path, None),))
        return
    if not any(item.reasons for item in (candidate, *candidate.jobs)):
        runs = tuple((job.path, job.row) for job in candidate.jobs)
        yield Move(inside, candidate.total.total, runs, sweep=candidate.path)
        return
    # Its ledger would call a job without a folder lost, and a resume of the sweep run it again.
    for job in candidate.jobs:
        if not stays(job) and candidate.sweep is not None:
            for part in parts_of(job):
                yield Move(part.relative_to(outputs), size_of(part), ((job.path, job.row),),
                           part_of=job.path.relative_to(outputs))  # fmt: skip


def stays(job: Candidate) -> str | None:
    """Why a job of a sweep that stays keeps its parts."""
    if job.reasons:
        return "; ".join(job.reasons)
    return None if job.state in DONE else "snac-exp sweep resume= goes on with it"


def parts_of(job: Candidate) -> list[Path]:
    """The large parts of a job without which it is still known how it went."""
    folder = RunFolder(job.path)
    parts = (folder.checkpoints, folder.samples, folder.wandb, folder.tensorboard)
    return [part for part in parts if part.is_dir() and not part.is_symlink()]


def size_of(path: Path) -> int:
    """Bytes of a folder."""
    found: Usage = usage_of(path)
    return found.total if os.path.isdir(path) else 0
