"""The folder of one run: made once, never overwritten, complete enough to resume from itself alone."""

import errno
import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from snac_exp.config.meaning.digest import meaning_hash
from snac_exp.config.stored import read_stored, stored_yaml
from snac_exp.errors import ConfigError
from snac_exp.system import folder_lock as lock
from snac_exp.system.files import (
    folder_beside,
    is_half_written,
    remove_left,
    remove_left_in,
    write_signed_json,
    write_text,
)
from snac_exp.system.owner import Owner
from snac_exp.system.paths.kind import refuse_file
from snac_exp.tracking.json_files import NUMBER, Shape, read_object, require_shape

# Of a status, where it has them.
_PROGRESS: Shape = {
    name: (*kinds, type(None))
    for name, kinds in {
        "attempts": (int,), "epoch": (int,), "step": (int,), "num_steps": (int,), "seconds_left": NUMBER,
        "pruned": (dict,),
    }.items()
}  # fmt: skip
COMMENT = "# The resolved config of this run; resume reads this file and nothing else.\n"


class RunFolder:
    """Paths and small files of a run; outputs/README.md describes them. No other module names a file of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.overrides = path / "overrides.yaml"
        self.plan = path / "plan.json"
        self.environment = path / "environment.json"
        self.meaning = path / "meaning.json"  # digests of what it computes and of what, see snac_exp.lineage.meaning
        self.status_file = path / "status.json"
        self.metrics = path / "metrics.jsonl"
        self.notes = path / "notes.jsonl"
        self.labels = path / "labels.json"  # tags and notes of people, see snac_exp.tracking.labels
        self.labels_lock = path / ".labels.lock"
        self.log = path / "train.log"
        self.job_log = path / "job.log"  # what the process writes to its terminal, of a run in the background
        self.summary = path / "summary.json"
        self.utterances = path / "utterances.parquet"  # the rows that the summary is the mean of
        self.report = path / "report.html"
        self.checkpoints = path / "checkpoints"
        self.best_model = self.checkpoints / "best_model.pt"
        self.samples = path / "samples"
        self.init_from = path / "init_from.txt"  # how the weights of another run were taken over
        self.task = path / "task.json"  # of a job that is a verb: the verb and its arguments
        self.trace = path / "trace.json"  # of the profiler
        self.wandb = path / "wandb"
        self.wandb_id = path / "wandb_id"
        self.tensorboard = path / "tensorboard"
        self.trackio_id = path / "trackio_id"
        self._beat = 0.0  # time.monotonic() of the last status, which a changed clock cannot move
        self._values: dict[str, Any] | None = None

    @classmethod
    def create(cls, values: Mapping[str, Any], overrides: list[str], path: Path | None = None) -> "RunFolder":
        """A new folder with the resolved config and the overrides in it: `path`, or `output_dir/name/TIME-HASH`.

        It is whole or absent: what a kill leaves is hidden, and goes with the next run of that name.

        Raises:
            FileExistsError: `path` is there already.
        """

        def fill(path: Path) -> None:
            write_text(cls(path).config, stored_yaml(dict(values), COMMENT))
            write_text(cls(path).overrides, stored_yaml(overrides))

        if path is None:
            parent = Path(str(values["output_dir"])) / str(values["name"])
            return cls(exclusive_folder(parent, meaning_hash(values), fill))
        with folder_beside(path) as hidden:
            fill(hidden)
            hidden.rename(path)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run folder.

        Raises:
            ConfigError: there is no run at `path`.
        """
        folder = cls(path)
        refuse_file(path, "a run folder", ConfigError)
        if not folder.config.is_file():
            raise ConfigError(
                f"{path} is no run folder: it has no config.yaml; give the folder that training printed at its start"
            )
        return folder

    @classmethod
    def of_checkpoint(cls, path: Path) -> "RunFolder | None":
        """The run folder in which a checkpoint file lies; None where it lies elsewhere."""
        folder = cls(path.resolve().parents[1])
        return folder if path.resolve().parent == folder.checkpoints else None

    @property
    def exists(self) -> bool:
        """Whether the folder is a run's."""
        return self.config.is_file() and self.overrides.is_file()

    def samples_at(self, epoch: int, step: int, by_step: object) -> Path:
        """The folder of the samples of a validation; of a run that validates `by_step`, named by it: an epoch may have
        several."""
        return self.samples / (f"step{step:07d}" if by_step else f"epoch{epoch:03d}")

    def sample_folders(self) -> list[Path]:
        """The folders of all samples, in order."""
        return sorted([*self.samples.glob("epoch*"), *self.samples.glob("step*")])

    def values(self) -> dict[str, Any]:
        """The stored resolved config, read once.

        Raises:
            ConfigError: it is damaged, or was changed after the run began.
        """
        if self._values is None:
            found = read_stored(self.config)
            if not isinstance(found, dict):
                raise ConfigError(f"{self.config} holds no config of a run; restore it")
            self._values = {str(key): value for key, value in found.items()}
        return deepcopy(self._values)

    def stored_overrides(self) -> list[str]:
        """The overrides with which the run was begun; none where they are not stored.

        Raises:
            ConfigError: the file is damaged, or was changed after the run began.
        """
        found = read_stored(self.overrides) if self.overrides.exists() else []
        if not isinstance(found, list):
            raise ConfigError(f"{self.overrides} holds no list of overrides; restore it or remove it")
        return [str(item) for item in found]

    def has_nothing(self) -> bool:
        """Whether the run has not come so far as to have a plan, or to start a tracker, whose refusal `status` shows:
        then nothing is known but what its command said."""
        return not any(
            path.exists() for path in (self.plan, self.wandb_id, self.wandb, self.tensorboard, self.trackio_id)
        )

    def remove(self) -> None:
        """Leave nothing of a run that has nothing."""
        shutil.rmtree(self.path)

    def num_devices(self) -> int:
        """Processes of the run on one machine, as its config says.

        Raises:
            ConfigError: it does not say, or the config is damaged.
        """
        trainer = self.values().get("trainer")
        found = trainer.get("devices") if isinstance(trainer, dict) else None
        if type(found) is not int:
            raise ConfigError(f"{self.config} says no number of trainer.devices; restore it")
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: two processes can never write one run."""
        with lock.locked(self.path):
            yield

    def begin(self) -> None:
        """Say that this process runs it, rid of what killed ones left half-written; counts the attempts."""
        self.remove_leftovers()
        known = self.status() or {}
        self.set_status("running", error=None, stopped_by=None, attempts=int(known.get("attempts") or 0) + 1)

    def set_status(self, state: str, **values: Any) -> None:
        """Write status.json: state is queued, running, finished, pruned, failed or preempted."""
        known = self.status() or {}
        # What was said before stays: attempts and steps outlive a change of state.
        known.update(state=state, **Owner.me().as_dict(), heartbeat=time.time(), **values)
        write_signed_json(self.status_file, known)
        self._beat = time.monotonic()

    def heartbeat(self, every_seconds: float = 10.0, **values: Any) -> None:
        """Say that the run is alive, at most every so many seconds."""
        if time.monotonic() - self._beat >= every_seconds:
            self.set_status("running", **values)

    def status(self) -> dict[str, Any] | None:
        """What the run last said of itself; None before it was ever begun.

        Raises:
            ConfigError: the file is damaged.
        """
        if not self.status_file.exists():
            return None
        found = read_object(self.status_file)
        require_shape(self.status_file, found, {name: kinds for name, kinds in _PROGRESS.items() if name in found})
        return found

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half-written, wherever it lies in the folder."""
        remove_left_in(self.path)


class SilentRunFolder(RunFolder):
    """The folder as ranks other than 0 see it: they read it and write nothing."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Rank 0 holds it."""
        yield

    def set_status(self, state: str, **values: Any) -> None:
        """Rank 0 says how it goes."""

    def heartbeat(self, every_seconds: float = 10.0, **values: Any) -> None:
        """Rank 0 says that the run is alive."""

    def remove_leftovers(self) -> None:
        """Rank 0 removes them."""

    def remove(self) -> None:
        """Rank 0 removes it."""


def exclusive_folder(parent: Path, digest: str, fill: Callable[[Path], None]) -> Path:
    """A folder `TIME-HASH` that nobody else has, filled before it has that name: two launches in one second get two."""
    stem = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{digest}"
    parent.mkdir(parents=True, exist_ok=True)
    remove_left([path for path in parent.glob(".*.tmp") if is_half_written(path.name)])
    with folder_beside(parent / stem) as folder:
        fill(folder)
        for number in itertools.count(1):
            path = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                # Renaming decides, since no folder that is not empty is replaced: asking first would leave a moment.
                folder.rename(path)
                break
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
    return path
