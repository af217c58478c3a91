"""The recipe unrolled: what every epoch does, before anything runs.

A plan is a pure function of the experiment and the codec's geometry. It is printed as a table, stored with the run, and
the only thing the trainer asks about segment lengths, batches, learning rates and loss weights.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snac_exp.codec.geometry import Geometry, geometry_of_directory
from snac_exp.config.schema import Codec, Experiment, Lr, Stage, Trainer
from snac_exp.config.validate import Ranges, num_epochs
from snac_exp.data.num_batches import num_batches_of
from snac_exp.errors import CodecError, ConfigError
from snac_exp.training.schedules import learning_rate

ADVERSARY = "adversary"
"""Name of the adversary's weight among those of the heads."""


@dataclass(frozen=True)
class EpochPlan:
    """One epoch: `num_tokens` coarse tokens, or frames of a token model, per segment; peak rate per group, None =
    frozen."""

    epoch: int
    stage: str
    phase: str
    segment_seconds: float | None
    num_tokens: int
    batch_size: int
    schedule: str
    peak_rates: dict[str, float | None]
    loss_weights: dict[str, float]

    @property
    def trainable(self) -> frozenset[str]:
        """Names of the groups that learn in this epoch."""
        return frozenset(name for name, rate in self.peak_rates.items() if rate is not None)


NumItems = Callable[[EpochPlan], int]
"""Items of an epoch: rows, or the windows of its length."""


@dataclass(frozen=True)
class Plan:
    """All epochs in order, with the shape of the schedules. `adversary_start`: the step from which an adversary joins,
    None = there is none."""

    epochs: tuple[EpochPlan, ...]
    lr: Lr
    max_steps_per_epoch: int | None
    world_size: int = 1
    adversary_start: int | None = None

    def num_batches(self, epoch: EpochPlan, num_items: NumItems) -> int:
        """Optimiser steps of an epoch; the last batch may be smaller, no item is left out.

        Raises:
            ConfigError: an epoch has fewer items than there are ranks.
        """
        if num_items(epoch) < self.world_size:
            raise ConfigError(
                f"epoch {epoch.epoch} has {num_items(epoch)} items to train on, which cannot be shared among "
                f"{self.world_size} ranks; use fewer with trainer.devices, or more data"
            )
        batches = num_batches_of(num_items(epoch), epoch.batch_size, self.world_size)
        return batches if self.max_steps_per_epoch is None else min(batches, self.max_steps_per_epoch)

    def num_steps(self, num_items: NumItems) -> int:
        """Optimiser steps of the whole run."""
        return sum(self.num_batches(epoch, num_items) for epoch in self.epochs)

    def phase_span(self, epoch: EpochPlan, num_items: NumItems) -> tuple[int, int]:
        """Steps of the epoch's phase before this epoch, and in all, however many epochs and stages that spans."""
        # The whole phase, although batches and segments change within it: one cycle spans all of it.
        phase = [item for item in self.epochs if item.phase == epoch.phase]
        before = sum(self.num_batches(item, num_items) for item in phase if item.epoch < epoch.epoch)
        return before, sum(self.num_batches(item, num_items) for item in phase)

    def learning_rates(self, epoch: EpochPlan, batch: int, span: tuple[int, int]) -> dict[str, float]:
        """Learning rate of each trainable group at one batch: a function of position, so schedulers have no state.

        A schedule runs over all steps of its phase; `span` is what `phase_span` says of the epoch.
        """
        before, total = span
        return {
            name: learning_rate(epoch.schedule, rate, before + batch, total, self.lr)
            for name, rate in epoch.peak_rates.items()
            if rate is not None
        }

    def loss_weights(self, epoch: EpochPlan, step: int) -> dict[str, float]:
        """Weight of each head, and of the adversary where there is one: 0 before it joins."""
        if self.adversary_start is None:
            return epoch.loss_weights
        return epoch.loss_weights | {ADVERSARY: float(step >= self.adversary_start)}

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values, one entry per epoch."""
        return {"epochs": [asdict(epoch) | {"trainable": sorted(epoch.trainable)} for epoch in self.epochs]}


def unroll(experiment: Experiment, geometry: Geometry | None, world_size: int | None = None) -> Plan:
    """The plan of an experiment on `world_size` ranks (None: `trainer.devices`); stages in frames need no geometry.

    Raises:
        CodecError: a segment is shorter than one coarse token of the codec.
        ConfigError: a batch of some stage has fewer segments than there are ranks.
    """
    stages, phases = experiment.curriculum.stages, experiment.lr.phases
    last = num_epochs(stages, phases)
    epochs = tuple(
        _epoch(number, experiment, geometry, _at(stages, number), _at(phases, number)) for number in range(1, last + 1)
    )
    world_size = experiment.trainer.devices if world_size is None else world_size
    for epoch in epochs:
        _check_shared(epoch, experiment.trainer, world_size)
    adversary = experiment.adversary
    start = None if adversary.kind == "none" else adversary.start_step
    return Plan(epochs, experiment.lr, experiment.trainer.max_steps_per_epoch, world_size, start)


def _epoch(
    number: int, experiment: Experiment, geometry: Geometry | None, stage_name: str, phase_name: str
) -> EpochPlan:
    stage, phase = experiment.curriculum.stages[stage_name], experiment.lr.phases[phase_name]
    groups = {name for name, pattern in experiment.lr.groups.items() if pattern is not None}
    weights = experiment.loss.weights | experiment.loss.phases.get(phase_name, {})
    return EpochPlan(
        epoch=number,
        stage=stage_name,
        phase=phase_name,
        segment_seconds=stage.segment_seconds,
        num_tokens=_num_tokens(stage, geometry),
        batch_size=_batch_size(experiment.trainer.batch_size * stage.batch_multiplier, experiment.curriculum.rounding),
        schedule=phase.schedule,
        # Phases name all groups of a recipe; a choice of heads may have taken some of them away.
        peak_rates={name: rate for name, rate in phase.groups.items() if name in groups},
        loss_weights={head: float(weights[head] or 0.0) for head in experiment.heads},
    )


def _check_shared(epoch: EpochPlan, trainer: Trainer, world_size: int) -> None:
    """Every rank needs a segment of every batch, and of every micro-batch; a later stage must not find out itself."""
    if epoch.batch_size < world_size:
        raise ConfigError(
            f"curriculum.stages.{epoch.stage}: a batch of {epoch.batch_size} (trainer.batch_size={trainer.batch_size} "
            f"times its batch_multiplier) cannot be shared among {world_size} ranks; raise trainer.batch_size or the "
            "multiplier, or use fewer devices"
        )


def _num_tokens(stage: Stage, geometry: Geometry | None) -> int:
    if stage.segment_frames is not None:
        return stage.segment_frames
    if geometry is None or stage.segment_seconds is None:
        raise ConfigError("a token model's stages are in frames: set segment_frames, not segment_seconds")
    return geometry.coarse_tokens_in(stage.segment_seconds)


def _batch_size(exact: float, rounding: str) -> int:
    """Whole segments: floor or round (half up). A hair is added first, since 0.45 x 100 is 44.99… in binary."""
    exact += 1e-9
    return max(1, math.floor(exact) if rounding == "floor" else math.floor(exact + 0.5))


def _at(schedule: Ranges, epoch: int) -> str:
    """Name of the stage or phase of an epoch; the config was checked to have exactly one."""
    return next(
        name
        for name, item in schedule.items()
        if item.epochs[0] <= epoch and (item.epochs[1] is None or epoch <= item.epochs[1])
    )


def planned_geometry(experiment: Experiment) -> Geometry | None:
    """What `unroll` needs before any codec is loaded; None for a token model, whose stages are in frames."""
    in_seconds = any(stage.segment_seconds is not None for stage in experiment.curriculum.stages.values())
    return declared_geometry(experiment.codec) if in_seconds else None


def declared_geometry(codec: Codec) -> Geometry:
    """Geometry for planning: of the checkpoint's config.json where that lies on this machine, else as declared.

    Raises:
        CodecError: neither is there.
    """
    if codec.path is not None:
        return geometry_of_directory(Path(codec.path).expanduser())
    if codec.geometry is None:
        raise CodecError(
            f"codec {codec.name} declares no codec.geometry and has no codec.path to read it from; set one"
        )
    return Geometry.from_declared(codec.geometry)
