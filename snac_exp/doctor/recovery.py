"""The last checkpoint of a run that one can go back to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from snac_exp.checkpoints.store import Entry
from snac_exp.doctor.findings import Finding, problem
from snac_exp.doctor.opening import OpenedCheckpoint, entries_of, open_checkpoint
from snac_exp.errors import CheckpointError
from snac_exp.system.files import sha256_of_file
from snac_exp.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class RecoveryPoint:
    """A sound checkpoint whose SHA-256 is that of latest.json; `newer` are the files that are listed before it."""

    file: Path
    step: int
    newer: tuple[str, ...]

    def advice(self, run_dir: Path) -> str:
        """What to type."""
        resume = f"python train.py resume={run_dir}"
        if not self.newer:
            return f"go on from it with: {resume}"
        entries = "the first entry" if len(self.newer) == 1 else f"the first {len(self.newer)} entries"
        index = RunFolder(run_dir).checkpoints / "latest.json"
        newer = ", ".join(self.newer)
        return f"remove {entries} of {index} ({newer}), and the line `sha256` above, then: {resume}"


def last_good(
    run_dir: Path,
    before_step: int | None,
    is_sound: Callable[[OpenedCheckpoint], bool],
    unsound: Path | None = None,
    known: OpenedCheckpoint | None = None,
) -> RecoveryPoint | None:
    """The newest sound checkpoint of a run, of at most `before_step`; each file is hashed and opened until one is.

    `unsound` is known to be none, and `known` is open; neither is opened again.
    """
    newer: list[str] = []
    for entry in entries_of(run_dir):
        path = RunFolder(run_dir).checkpoints / entry.file
        # By when it was saved, not by what is in it: what diverged may still look sound.
        late = before_step is not None and entry.step > before_step
        # The cheapest question first: a comparison, a hash of the file, the whole examination.
        if (
            not late
            and path.resolve() != unsound
            and not list(examine_file(path, entry))
            and _is(path, is_sound, known)
        ):
            return RecoveryPoint(path, entry.step, tuple(newer))
        newer.append(entry.file)
    return None


def examine_file(path: Path, entry: Entry | None) -> Iterator[Finding]:
    """Whether a file is the one that latest.json names."""
    if not path.is_file():
        yield problem("file", path.name, "named by latest.json, and missing")
    elif entry is not None and sha256_of_file(path) != entry.sha256:
        yield problem("file", path.name, "not the file that was written: its SHA-256 differs from latest.json")


def _is(path: Path, is_sound: Callable[[OpenedCheckpoint], bool], known: OpenedCheckpoint | None) -> bool:
    try:
        return is_sound(known if known is not None and known.path == path else open_checkpoint(path))
    except CheckpointError:  # not one to go back to; examining that file itself gives the reason
        return False
