"""What of a run is saved and how it comes back, side by side."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from lightning_fabric import Fabric

from snac_exp.checkpoints.background_writer import Background
from snac_exp.checkpoints.file import write_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.codec.fast.cuda.choice import kernels_in_use
from snac_exp.config.schema import Experiment
from snac_exp.errors import CheckpointError
from snac_exp.system.environment import environment, environment_changes
from snac_exp.tracking.console import Console
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.tracker import Tracker


class Stateful(Protocol):
    """Whatever can be saved: a module, optimizers, a guard."""

    def state_dict(self) -> Any:
        """Plain values and tensors."""
        ...

    def load_state_dict(self, saved: Any, /) -> Any:
        """Take up what `state_dict` gave."""
        ...


@dataclass
class Saver:
    """Writes the checkpoints of a run and brings its parts back from one.

    parts: everything with a state, by the name of its field in a `Checkpoint`, or any other name (then it is kept in
    `Checkpoint.extra`): an entry here is all that new state needs. provenance: the codec or the tokens that the weights
    belong to; its `fingerprint` must stay the same. saved_at: epoch and step of the newest checkpoint.
    """

    experiment: Experiment
    fabric: Fabric
    folder: RunFolder
    tracker: Tracker
    console: Console
    store: CheckpointStore
    provenance: dict[str, Any]
    state: TrainState
    parts: dict[str, Stateful]
    saved_at: tuple[int, int] | None = None
    writer: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        self._started = self._last_save = time.monotonic()
        self._elapsed_before = 0.0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Checkpoints are written beside the loop within it; whatever ends it, the last one is complete then."""
        try:
            yield
        finally:
            self.writer.wait()

    def capture(self) -> Checkpoint:
        """The run as it is now; its tensors are those in use, not copies."""
        state_dicts = {name: part.state_dict() for name, part in self.parts.items()}
        run = (self.provenance, self.folder.values(), self._environment())
        return Checkpoint({}, replace(self.state), *run).with_parts(state_dicts)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up the state of a checkpoint.

        Raises:
            CheckpointError: it was trained on another codec or other tokens, or lacks a part that this run has.
        """
        # First of all: weights of another codec of the same shapes would load without an error.
        self._check_provenance(checkpoint)
        for name, part in self.parts.items():
            part.load_state_dict(checkpoint.part(name))
        # In place: the trainer holds the same object.
        self.state.load_state_dict(checkpoint.state.state_dict())
        self._elapsed_before, self._started = self.state.elapsed_seconds, time.monotonic()
        self.saved_at = (self.state.epoch, self.state.step)
        for change in environment_changes(checkpoint.environment, self._environment()):
            text = f"resumed in another environment, so figures may differ in the last bits: {change}"
            self.console.note(text, source="resume", level="warning", step=self.state.step)

    def restore_newest(self) -> bool:
        """Go back to the newest checkpoint, once it is complete for all ranks; False if there is none."""
        self.writer.wait()
        self.fabric.barrier()
        newest = self.store.load_latest()
        if newest is not None:
            self.restore(newest)
            self.tracker.rewind(self.state.metrics_position)
        return newest is not None

    def elapsed(self) -> float:
        """Wall-clock seconds of training over all attempts."""
        return self._elapsed_before + time.monotonic() - self._started

    def is_time(self) -> bool:
        """Whether the recipe's minutes since the last checkpoint are over, by this rank's clock."""
        return time.monotonic() - self._last_save >= self.experiment.checkpoint.every_minutes * 60

    def save(self, *, epoch: int, finished_epoch: bool, by_time: bool = False) -> None:
        """Copy the state and have it written beside the loop."""
        # Before the copy: a resume cuts metrics.jsonl back to this byte.
        self.state.metrics_position = self.tracker.position()
        self.state.elapsed_seconds = self.elapsed()
        if self.fabric.is_global_zero:
            self.writer.wait()  # before the copy: there is never more than one
            save = partial(self.store.save, self.capture().copied(), epoch=epoch)
            self.writer.run(partial(save, finished_epoch=finished_epoch, by_time=by_time))
        # On every rank, or ranks would not agree on what is saved already.
        self._last_save, self.saved_at = time.monotonic(), (self.state.epoch, self.state.step)

    def save_best(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Write best_model.pt (the objective) and best_model_24k.pt and its like (one head's objective)."""
        # Of the whole validation: those of single sources (source/NAME/…) choose no model.
        of_all = (name for name in metrics if not name.startswith("source/"))
        for key in (name for name in of_all if name.rpartition("/")[2] == "objective"):
            head = key.rpartition("/")[0]
            if metrics[key] < self.state.best.get(head or "weighted", math.inf):
                self.state.best[head or "weighted"] = metrics[key]
                if self.fabric.is_global_zero:
                    self._write_best(head, metrics[key], epoch)

    def write_failure(self, values: Mapping[str, float], files: list[str]) -> str:
        """Write what a rollback is about to discard, with the step's values and the files of its batch; its path."""
        # Every rank has a batch of its own, and any of them may be the cause.
        rank = f"_rank{self.fabric.global_rank}" if self.fabric.global_rank else ""
        path = self.store.directory / f"nonfinite_step{self.state.step}{rank}.pt"
        write_checkpoint(path, replace(self.capture(), failure={"values": dict(values), "files": files}))
        return str(path)

    def _write_best(self, head: str, objective: float, epoch: int) -> None:
        own = self.store.directory / f"best_model_{head.removeprefix('head_')}.pt"
        path = own if head else self.folder.best_model
        # Not in the background: the model holds its averaged weights only while it is being measured.
        # Discriminators can be larger than the codec: one file has them.
        write_checkpoint(path, self.capture().for_use(objective, with_adversary=not head))
        if not head:
            self.tracker.log_model(path, step=self.state.step, epoch=epoch, aliases=("best", f"epoch-{epoch}"))

    def _check_provenance(self, checkpoint: Checkpoint) -> None:
        theirs, ours = (str(item.get("fingerprint")) for item in (checkpoint.provenance, self.provenance))
        if theirs != ours:
            raise CheckpointError(
                f"{self.folder.path} was trained on codec {theirs[:12]}, not {ours[:12]}; "
                "set codec.path in its config.yaml to that codec, and remove the line `# sha256 …` above the values"
            )

    def _environment(self) -> dict[str, Any]:
        settings = self.experiment.trainer
        run = (settings.precision, self.fabric.world_size, settings.compile, kernels_in_use())
        return environment(self.fabric.device, *run)
