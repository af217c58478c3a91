"""The recipe unrolled: what every epoch does, before anything runs.

A plan is a pure function of the experiment and the codec's geometry. It is printed as a table, stored with the run, and
the only thing the trainer asks about segment lengths, batches, learning rates and loss weights.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from snac_exp.codec.geometry import Geometry, geometry_of_directory
from snac_exp.config.cadence.ranges import Timetable, timetable
from snac_exp.config.schema import Codec, Experiment, Lr, Stage, Trainer
from snac_exp.data.num_batches import num_batches_of
from snac_exp.errors import CodecError, ConfigError
from snac_exp.training.passes import Part, parts_of
from snac_exp.training.schedules import learning_rate

ADVERSARY = "adversary"
"""Name of the adversary's weight among those of the heads."""
TERM = "terms/"
"""What the name of a term's weight begins with there."""


@dataclass(frozen=True)
class EpochPlan:
    """One epoch, or the part of one that is of one phase: `num_tokens` coarse tokens, or frames of a token model, per
    segment; peak rate per group, None = frozen.

    first_batch: batches of the epoch before this part. first_step: steps of the run before it. num_steps: its own; both
    None before the data is counted. term_weights: of the terms that the phase weighs otherwise.
    """

    epoch: int
    stage: str
    phase: str
    segment_seconds: float | None
    num_tokens: int
    batch_size: int
    schedule: str
    peak_rates: dict[str, float | None]
    loss_weights: dict[str, float]
    first_batch: int = 0
    first_step: int | None = None
    num_steps: int | None = None
    term_weights: dict[str, float] = field(default_factory=dict)

    @property
    def trainable(self) -> frozenset[str]:
        """Names of the groups that learn in this epoch."""
        return frozenset(name for name, rate in self.peak_rates.items() if rate is not None)

    @property
    def end_batch(self) -> int:
        """Batches of the epoch up to the end of this part; its plan must be counted."""
        return self.first_batch + _counted(self.num_steps)


def term_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Of the weights of a step those of the terms that its phase weighs otherwise."""
    return {name.removeprefix(TERM): weight for name, weight in weights.items() if name.startswith(TERM)}


NumItems = Callable[[EpochPlan], int]
"""Items of an epoch: rows, or the windows of its length."""


@dataclass(frozen=True)
class Plan:
    """All epochs in order, divided where a phase begins within one, with the shape of the schedules.

    Drawn without data, a plan in steps has an epoch per stage, and one in epochs has no steps; see `counted`.
    adversary_start: the step from which an adversary joins, None = there is none. autoencoder_steps: steps before
    codebooks come into use.
    """

    epochs: tuple[EpochPlan, ...]
    lr: Lr
    timetable: Timetable
    max_steps: int | None
    max_steps_per_epoch: int | None
    world_size: int = 1
    adversary_start: int | None = None
    autoencoder_steps: int = 0
    is_counted: bool = False

    def counted(self, num_items: NumItems) -> "Plan":
        """The plan for data of so many items.

        Raises:
            ConfigError: an epoch has fewer items than there are ranks, or the run ends before its codebooks are in use.
        """
        kinds = {(item.stage, item.phase): item for item in self.epochs}
        batches: dict[str, int] = {}
        for item in self.epochs:
            if item.stage not in batches:
                batches[item.stage] = self._num_batches(item, num_items)
        parts = parts_of(self.timetable, self.max_steps, batches.__getitem__)
        epochs = tuple(_placed(kinds[part.stage, part.phase], part) for part in parts)
        counted = replace(self, epochs=epochs, is_counted=True)
        if counted.num_steps <= self.autoencoder_steps:
            raise ConfigError(
                f"start.autoencoder_steps={self.autoencoder_steps}: the run has {counted.num_steps} steps, so its "
                "codebooks would never come into use; give it a fifth of them or so"
            )
        return counted

    def _num_batches(self, epoch: EpochPlan, num_items: NumItems) -> int:
        """Optimiser steps of a whole epoch; the last batch may be smaller, no item is left out."""
        if num_items(epoch) < self.world_size:
            raise ConfigError(
                f"epoch {epoch.epoch} has {num_items(epoch)} items to train on, which cannot be shared among "
                f"{self.world_size} ranks; use fewer with trainer.devices, or more data"
            )
        batches = num_batches_of(num_items(epoch), epoch.batch_size, self.world_size)
        return batches if self.max_steps_per_epoch is None else min(batches, self.max_steps_per_epoch)

    @property
    def num_epochs(self) -> int:
        """The number of the last epoch."""
        return self.epochs[-1].epoch

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run, of a counted plan."""
        return _counted(self.epochs[-1].first_step) + _counted(self.epochs[-1].num_steps)

    def at(self, epoch: int, batch: int) -> EpochPlan | None:
        """What is planned after so many batches of an epoch, or its last part where it is over; None beyond the last
        epoch."""
        parts = self._parts.get(epoch, ())
        return next((part for part in parts if batch < part.end_batch), parts[-1] if parts else None)

    def num_batches(self, epoch: int) -> int:
        """Batches of all parts of an epoch."""
        return self._parts[epoch][-1].end_batch

    def ends_epoch(self, epoch: EpochPlan) -> bool:
        """Whether a part is the last one of its epoch."""
        return self._parts[epoch.epoch][-1] is epoch

    def validations(self, trainer: Trainer) -> list[int]:
        """Steps between the first and the last one after which a run validates, of a counted plan."""
        if trainer.validate_every_steps is not None:
            return list(range(trainer.validate_every_steps, self.num_steps, trainer.validate_every_steps))
        # Of an epoch in parts the last one counts.
        ends = {item.epoch: _counted(item.first_step) + _counted(item.num_steps) for item in self.epochs}
        due = (step for epoch, step in ends.items() if epoch % trainer.validate_every_epochs == 0)
        return [step for step in due if step < self.num_steps]

    @cached_property
    def _parts(self) -> dict[int, list[EpochPlan]]:
        """The parts of every epoch, made once: there may be very many epochs."""
        found: dict[int, list[EpochPlan]] = {}
        for item in self.epochs:
            found.setdefault(item.epoch, []).append(item)
        return found

    @cached_property
    def _phases(self) -> dict[str, tuple[int, int]]:
        """First step of every phase, and its steps in all."""
        found: dict[str, tuple[int, int]] = {}
        for item in self.epochs:
            first, num = found.get(item.phase, (_counted(item.first_step), 0))
            found[item.phase] = first, num + _counted(item.num_steps)
        return found

    def phase_span(self, epoch: EpochPlan) -> tuple[int, int]:
        """Steps of the epoch's phase before this epoch, and in all, however many epochs and stages that spans."""
        # The whole phase, although batches and segments change within it: one cycle spans all of it.
        first, num = self._phases[epoch.phase]
        return _counted(epoch.first_step) - first, num

    def learning_rates(self, epoch: EpochPlan, batch: int) -> dict[str, float]:
        """Learning rate of each trainable group at a batch of the epoch: a function of position, so schedulers have no
        state. A schedule runs over all steps of its phase."""
        before, total = self.phase_span(epoch)
        return {
            name: learning_rate(epoch.schedule, rate, before + batch - epoch.first_batch, total, self.lr)
            for name, rate in epoch.peak_rates.items()
            if rate is not None
        }

    def loss_weights(self, epoch: EpochPlan, step: int) -> dict[str, float]:
        """Weight of each head, of each term that its phase weighs otherwise (`TERM` before its name), and of the
        adversary where there is one: 0 before it joins."""
        weights = epoch.loss_weights | {TERM + name: weight for name, weight in epoch.term_weights.items()}
        if self.adversary_start is None:
            return weights
        return weights | {ADVERSARY: float(step >= self.adversary_start)}

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values, one entry per epoch."""
        first = {"autoencoder_steps": self.autoencoder_steps} if self.autoencoder_steps else {}
        return {"epochs": [asdict(epoch) | {"trainable": sorted(epoch.trainable)} for epoch in self.epochs], **first}


def unroll(experiment: Experiment, geometry: Geometry | None, world_size: int | None = None) -> Plan:
    """The plan of an experiment on `world_size` ranks (None: `trainer.devices`), before its data is counted; stages in
    frames need no geometry.

    Raises:
        CodecError: a segment is shorter than one coarse token of the codec.
        ConfigError: a batch of some stage has fewer segments than there are ranks.
    """
    trainer = experiment.trainer
    table = timetable(experiment.curriculum, experiment.lr, trainer.max_steps)
    parts = parts_of(table, trainer.max_steps)
    epochs = tuple(_placed(_epoch(part, experiment, geometry), part) for part in parts)
    world_size = trainer.devices if world_size is None else world_size
    for epoch in epochs:
        _check_shared(epoch, trainer, world_size)
    adversary = experiment.adversary
    start = None if adversary.kind == "none" else adversary.start_step
    limits = (trainer.max_steps, trainer.max_steps_per_epoch)
    return Plan(epochs, experiment.lr, table, *limits, world_size, start, experiment.start.autoencoder_steps)


def _placed(epoch: EpochPlan, part: Part) -> EpochPlan:
    return replace(
        epoch, epoch=part.epoch, first_batch=part.first_batch, first_step=part.first_step, num_steps=part.num_steps
    )


def _counted(number: int | None) -> int:
    """A number that only a counted plan has."""
    assert number is not None, "the plan is not counted"
    return number


def _epoch(part: Part, experiment: Experiment, geometry: Geometry | None) -> EpochPlan:
    stage, phase = experiment.curriculum.stages[part.stage], experiment.lr.phases[part.phase]
    groups = {name for name, pattern in experiment.lr.groups.items() if pattern is not None}
    weights = experiment.loss.head_weights(part.phase)
    return EpochPlan(
        epoch=part.epoch,
        stage=part.stage,
        phase=part.phase,
        segment_seconds=stage.segment_seconds,
        num_tokens=_num_tokens(stage, geometry),
        batch_size=_batch_size(experiment.trainer.batch_size * stage.batch_multiplier, experiment.curriculum.rounding),
        schedule=phase.schedule,
        # Phases name all groups of a recipe; a choice of heads may have taken some of them away.
        peak_rates={name: rate for name, rate in phase.groups.items() if name in groups},
        loss_weights={head: float(weights[head] or 0.0) for head in experiment.heads},
        term_weights=experiment.loss.phase_terms.get(part.phase, {}),
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
