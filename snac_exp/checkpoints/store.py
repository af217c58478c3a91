"""The checkpoints of a run: which files are kept, and which of them are whole."""

import time
from dataclasses import asdict, dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any

from snac_exp.checkpoints.file import read_checkpoint, write_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.errors import CheckpointError
from snac_exp.system.files import read_json, sha256_of_file, write_signed_json

_LIST = {"checkpoints"}


@dataclass(frozen=True)
class Entry:
    """One complete checkpoint file, as latest.json lists it."""

    file: str
    sha256: str
    epoch: int
    step: int
    finished_epoch: bool

    @classmethod
    def of(cls, values: object) -> "Entry":
        """The entry of these values; ValueError if they are none."""
        kinds = {item.name: item.type for item in fields(cls)}
        if not isinstance(values, dict) or {name: type(value) for name, value in values.items()} != kinds:
            raise ValueError(f"an entry needs {', '.join(kinds)}")
        return cls(**values)


class CheckpointStore:
    """The checkpoints of one run folder and their retention.

    `latest.json` lists complete files, newest first. A file gets there only after it was written, synced and renamed,
    so a process killed at any moment leaves the list true. Meanwhile it says which one is being written: what a kill
    leaves of that is removed when the run goes on, and of a run without any other begins again at its first step.
    """

    def __init__(self, directory: Path, keep_epochs: int | None, keep_intermediate: int) -> None:
        self.directory = directory
        self.keep_epochs = keep_epochs
        self.keep_intermediate = keep_intermediate
        self.index = directory / "latest.json"

    def save(self, checkpoint: Checkpoint, *, epoch: int, finished_epoch: bool, by_time: bool = False) -> Path:
        """Write a checkpoint of the whole state, name it the newest, and remove what is no longer kept."""
        stem, step = f"checkpoint_epoch{epoch}", checkpoint.state.step
        if not finished_epoch:
            stem += f"_time_{time.strftime('%Y%m%d_%H%M%S')}" if by_time else f"_iter{step}"
        path = self._unused(stem)
        self._write_list(self.entries(), writing=path.name)
        digest = write_checkpoint(path, checkpoint)
        entry = Entry(path.name, digest, epoch, step, finished_epoch)
        kept, dropped = self._retain([entry, *self.entries()])
        # File, list, removal, in this order: after a kill in between no listed file is missing, and the list says which
        # are still to be removed.
        self._write_list(kept, **({"dropped": [item.file for item in dropped]} if dropped else {}))
        for item in dropped:
            (self.directory / item.file).unlink(missing_ok=True)
        return path

    def _write_list(self, entries: list[Entry], **beside: object) -> None:
        """beside: what `_listed` gives beside the entries."""
        write_signed_json(self.index, {"checkpoints": [asdict(item) for item in entries], **beside})

    def entries(self) -> list[Entry]:
        """Complete checkpoints, newest first.

        Raises:
            CheckpointError: latest.json is damaged.
        """
        return self._listed()[0]

    def _listed(self) -> tuple[list[Entry], dict[str, Any]]:
        """What latest.json lists, and what it says beside: `writing`, the file being written, and `dropped`, those that
        left the list last."""
        if not self.index.exists():
            return [], {}
        try:
            values = read_json(self.index)
            if not isinstance(values, dict) or not _LIST <= values.keys() <= _LIST | {"writing", "dropped"}:
                raise ValueError("it is no list of checkpoints")
            return [Entry.of(item) for item in values.pop("checkpoints")], values
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{self.index} is damaged ({error}); restore it, or begin a new run with init_from= one of the files "
                "beside it"
            ) from error

    def load_latest(self) -> Checkpoint | None:
        """The newest complete checkpoint, on the CPU, or None if no checkpoint was ever written here.

        Raises:
            CheckpointError: the newest file is missing or altered, or files lie here that no index names.
        """
        entries, beside = self._listed()
        if not entries and "writing" in beside:
            return None
        if not entries:
            # Weights without a list are a damaged run, not a new one: beginning again would write over them.
            strays = sorted(path.name for path in self.directory.glob("*.pt"))
            if strays:
                raise CheckpointError(
                    f"{self.index} is missing but {', '.join(strays)} are there; "
                    "restore it, or move these files away to begin again"
                )
            return None
        entry, path = entries[0], self.directory / entries[0].file
        older = (
            f"; to go on from {entries[1].file} (step {entries[1].step}) remove the first entry of {self.index}, and "
            "the line `sha256` above it"
            if entries[1:]
            else ""
        )
        if not path.exists():
            raise CheckpointError(f"{path} is named by latest.json but missing{older}")
        # Whole is not enough: a file that was put in its place would load without an error, with other weights.
        if sha256_of_file(path) != entry.sha256:
            raise CheckpointError(
                f"{path} is not the file that was written: its SHA-256 differs from latest.json{older}"
            )
        return read_checkpoint(path)

    def remove_leftovers(self) -> None:
        """Remove what a killed process left half-written or half removed; only who holds the run's lock may ask for it.

        Raises:
            CheckpointError: latest.json is damaged.
        """
        for path in self.directory.glob(".*.tmp"):
            path.unlink()
        entries, beside = self._listed()
        unlisted = [*beside.get("dropped", ()), *([beside["writing"]] if "writing" in beside else [])]
        for name in {Path(str(item)).name for item in unlisted} - {item.file for item in entries}:
            (self.directory / name).unlink(missing_ok=True)

    def _unused(self, stem: str) -> Path:
        """A name that latest.json does not list: a listed file is never written again, or a kill between the file and
        the list would leave the list false."""
        listed = {item.file for item in self.entries()}
        names = (f"{stem}.pt" if number == 1 else f"{stem}-{number}.pt" for number in count(1))
        return self.directory / next(name for name in names if name not in listed)

    def _retain(self, entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
        """Newest first: which stay and which go. The newest always stays."""
        kept: list[Entry] = []
        for entry in entries:
            # Ends of epochs and files in between are counted apart: the latter must not push out the former.
            limit = self.keep_epochs if entry.finished_epoch else self.keep_intermediate
            same = sum(item.finished_epoch == entry.finished_epoch for item in kept)
            if not kept or limit is None or same < limit:
                kept.append(entry)
        return kept, [entry for entry in entries if entry not in kept]
