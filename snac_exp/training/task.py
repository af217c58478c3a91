"""What the trainer asks of a kind of training: a task to optimise, a data module with batches, an evaluator.

The loop knows no more than this, so a codec's decoder and a token model train by the very same code.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from snac_exp.config.seeding import derive_seed
from snac_exp.errors import ConfigError
from snac_exp.system.stop_request import Pruned
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.speed import StepTimer
from snac_exp.training.collectives import Collectives
from snac_exp.training.plan import EpochPlan

Note = Callable[[str], None]
Judge = Callable[[int], Pruned | None]
"""Asked after the validation at a step, once it is logged, whether the run should end there."""


class BatchLike(Protocol):
    """A batch of any kind."""

    def __len__(self) -> int: ...

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio it stands for, padding included."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same batch on a device."""
        ...

    def micro_batches(self, size: int) -> Sequence[Self]:
        """Consecutive parts of at most `size` items, in order."""
        ...


class Task(nn.Module, ABC):
    """A model and what a batch says about it.

    model: what is grouped, trained, averaged and checkpointed. adversary: a network trained against the model, with an
    optimizer of its own, or None; its loss is part of `total` and reaches its parameters only. timer: what the trainer
    times the step with; a task marks its losses, `timer.inner("loss")`. upkeep: state of parameters that move otherwise
    than by gradients, or None; see `end_step`. unaveraged: names of the model's parameters of which an average of the
    weights has the newest.
    """

    model: nn.Module
    adversary: nn.Module | None
    timer: StepTimer
    upkeep: nn.Module | None
    unaveraged: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.upkeep = None
        self.timer = StepTimer()
        self.adversary = None  # not at the class, where it would hide the module that an instance is given

    @abstractmethod
    def forward(self, batch: Any, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Terms of a batch, a scalar each, the mean over what the batch scores; names are `part/term`."""

    @abstractmethod
    def total(self, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """The loss, a scalar, out of the terms of a batch; `weights` are those of the plan at this step."""

    @abstractmethod
    def weight(self, batch: Any) -> float:
        """How much a batch scores: the weight of its means among those of other micro-batches and ranks."""

    def compile_model(self) -> None:
        """Compile what the model does in a step, once for every shape of the plan; parameters keep their names."""
        self.model.compile(dynamic=False)

    def train_adversary(self, trainable: bool) -> bool:
        """Let the adversary's parameters require gradients or not; True if that changed anything."""
        changed = False
        # DDP fixes its parameters when it wraps, so the caller has to wrap again where this changes.
        for parameter in self.adversary.parameters() if self.adversary is not None else ():
            changed |= parameter.requires_grad != trainable
            parameter.requires_grad_(trainable)
        return changed

    def begin_step(self, step: int) -> bool:
        """Do what happens before a step (counted from 0) and is no part of it; whether other parameters train now, or
        some were set. A function of the weights and of `step`, so that a resumed run does the same."""
        return False

    def end_step(self, collectives: Collectives, step: int) -> None:
        """Move what moves otherwise than by gradients, after a step (counted from 0) that was made."""

    def seed_noise(self, seed: int, purpose: str, *position: int) -> None:
        """Make every random draw of the next call a function of (seed, purpose, position)."""
        torch.manual_seed(derive_seed(seed, purpose, *position))


class DataModule(ABC):
    """Batches as a function of (seed, epoch, position)."""

    @abstractmethod
    def num_items(self, epoch: EpochPlan) -> int:
        """Items of an epoch: rows, or windows of this epoch's length."""

    @abstractmethod
    def item_seconds(self, epoch: EpochPlan) -> float:
        """Seconds of audio that one item of an epoch stands for."""

    @abstractmethod
    def batches(self, epoch: EpochPlan, start_batch: int, rank: int, world_size: int, pin: bool) -> Iterable[Any]:
        """This rank's part of every batch of the epoch from `start_batch` on; `pin`: in page-locked memory."""

    @abstractmethod
    def names(self, batch: Any) -> list[str]:
        """Files of a batch, for messages."""

    @abstractmethod
    def described(self) -> str:
        """What there is to train and to validate on, in one line."""

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sources of a mixture; nothing where the data is of one."""
        return ()

    def rows_by_source(self, epoch: EpochPlan, batch: int) -> dict[str, int]:
        """Items of each source in a batch of the epoch, counted from 0, over all ranks."""
        return {}

    def check_stored(self) -> list[str]:
        """Read all that is stored with checksums and is else compared when it is used; a line per kind.

        Raises:
            DataError: names the first file or row that is damaged.
        """
        return []


class Evaluator(ABC):
    """What proves the promises of a run, measures the model while it trains, and sums up at the end."""

    @abstractmethod
    def preflight(self, note: Note, attempt: int = 0) -> list[str]:
        """Prove what the recipe promises; a line per promise, also given to `note`.

        attempt: number of this start of the run, so that every start may look at other samples of large data.

        Raises:
            PreflightError: the first promise that does not hold.
        """

    def check_all_rows(self, folder: Path, note: Note) -> int:
        """Look at every row of the data, not only at a sample; returns how many looks found a bad row.

        folder: where an unfinished check leaves its record. note: is told of the share of bad rows and the worst.

        Raises:
            ConfigError: this task proves nothing of single rows.
        """
        raise ConfigError("rows=all is of codec recipes, whose codes and targets are proved row by row; leave it out")

    @abstractmethod
    def validate(self, fabric: Fabric) -> dict[str, float]:
        """Metrics on fixed data. `objective` and `NAME/objective`, lower is better, choose the best models."""

    def measured(self) -> list[str] | None:
        """The names of what `validate` gives, known before anything is measured; None: it does not say."""
        return None

    @abstractmethod
    def write_samples(self, fabric: Fabric, directory: Path) -> None:
        """Write what one can hear to a folder; called on all ranks at the validations that the recipe says."""

    @abstractmethod
    def sum_up(self, fabric: Fabric, folder: RunFolder, note: Note, sources: Mapping[str, float]) -> None:
        """Measure the final model beside its baselines, write summary.json, and tell.

        sources: of a mixture, what summary.json says of each of its sources; see `measured_of_sources`.
        """
