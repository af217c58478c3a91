"""What no single key can say: that the groups of a recipe fit together."""

import re
from collections.abc import Mapping
from typing import Protocol

from snac_exp.config.schema import Experiment
from snac_exp.config.structure import nearest
from snac_exp.config.task_package import door_of
from snac_exp.errors import ConfigError


class HasEpochs(Protocol):
    """A curriculum stage or a learning-rate phase."""

    @property
    def epochs(self) -> tuple[int, int | None]: ...


Ranges = Mapping[str, HasEpochs]


def validate(experiment: Experiment) -> None:
    """Check the experiment across its groups.

    Raises:
        ConfigError: naming the key and the mend.
    """
    _check_numbers(experiment)
    _check_ranges("curriculum.stages", experiment.curriculum.stages, experiment.lr.phases)
    _check_ranges("lr.phases", experiment.lr.phases, experiment.curriculum.stages)
    _check_groups(experiment)
    _check_phases(experiment)
    door_of(experiment.task.name, "checks").check(experiment)


def num_epochs(*schedules: Ranges) -> int:
    """Last epoch named by any range; open-ended ranges follow the others."""
    ends = [item.epochs[1] for schedule in schedules for item in schedule.values() if item.epochs[1] is not None]
    if not ends:
        raise ConfigError(
            "neither curriculum.stages nor lr.phases names a last epoch; give one range an end, like [2, 15]"
        )
    return max(ends)


def _check_ranges(key: str, schedule: Ranges, other: Ranges) -> None:
    """Ranges, ordered by their first epoch, must tile 1..last without gap or overlap."""
    if not schedule:
        raise ConfigError(f"{key} is empty; give it at least one entry with epochs: [1, N]")
    last = num_epochs(schedule, other)
    expected, previous = 1, ""
    for name, item in sorted(schedule.items(), key=lambda pair: pair[1].epochs[0]):
        start, end = item.epochs[0], last if item.epochs[1] is None else item.epochs[1]
        if end < start:
            raise ConfigError(f"{key}.{name}.epochs={list(item.epochs)}: the first epoch comes after the last")
        if start > expected:
            missing = f"epoch {expected}" if start == expected + 1 else f"epochs {expected} to {start - 1}"
            raise ConfigError(
                f"{key}.{name}.epochs={list(item.epochs)} leaves a gap: {missing} has no entry; start at {expected}"
            )
        if start < expected:
            raise ConfigError(f"{key}.{name}.epochs={list(item.epochs)} overlaps {key}.{previous}; start at {expected}")
        expected, previous = end + 1, name
    if expected - 1 != last:
        raise ConfigError(
            f"{key} ends at epoch {expected - 1} but the recipe has {last}; set {key}.{previous}.epochs=[…, {last}]"
        )


def _check_numbers(experiment: Experiment) -> None:
    trainer = experiment.trainer
    positive: dict[str, float] = {
        "trainer.batch_size": experiment.trainer.batch_size,
        "trainer.validation_batch_size": experiment.trainer.validation_batch_size,
        "trainer.grad_clip": experiment.trainer.grad_clip,
        "trainer.devices": experiment.trainer.devices,
        "trainer.log_every_steps": experiment.trainer.log_every_steps,
        "trainer.validate_every_epochs": experiment.trainer.validate_every_epochs,
        "trainer.preflight_rows": experiment.trainer.preflight_rows,
        "checkpoint.every_epochs": experiment.checkpoint.every_epochs,
        "checkpoint.every_steps": experiment.checkpoint.every_steps,
        "checkpoint.every_minutes": experiment.checkpoint.every_minutes,
        "checkpoint.keep_intermediate": experiment.checkpoint.keep_intermediate,
        "trainer.accumulation": trainer.accumulation,
        "trainer.samples_every_epochs": trainer.samples_every_epochs,
    }  # fmt: skip
    for name, stage in experiment.curriculum.stages.items():
        lengths = {"segment_seconds": stage.segment_seconds, "segment_frames": stage.segment_frames}
        lengths_set = {key: value for key, value in lengths.items() if value is not None}
        if len(lengths_set) != 1:
            raise ConfigError(f"curriculum.stages.{name} needs one of segment_seconds and segment_frames")
        positive |= {f"curriculum.stages.{name}.{key}": value for key, value in lengths_set.items()}
        positive[f"curriculum.stages.{name}.batch_multiplier"] = stage.batch_multiplier
    for optional in ("max_steps_per_epoch", "num_threads", "summary_utterances", "prefetch"):
        if getattr(trainer, optional) is not None:
            positive[f"trainer.{optional}"] = getattr(trainer, optional)
    if experiment.checkpoint.keep_epochs is not None:
        positive["checkpoint.keep_epochs"] = experiment.checkpoint.keep_epochs
    for key, value in positive.items():
        if not value > 0:
            raise ConfigError(f"{key}={value} must be greater than 0")
    not_negative = {
        "trainer.weight_decay": trainer.weight_decay,
        "trainer.num_workers": trainer.num_workers,
        "trainer.num_sample_clips": trainer.num_sample_clips,
    }
    for key, value in not_negative.items():
        if value < 0:
            raise ConfigError(f"{key}={value} must not be negative")
    if trainer.fused_optimizer and trainer.precision == "16-mixed":
        raise ConfigError("trainer.fused_optimizer=true cannot clip scaled gradients: choose it or precision=16-mixed")
    if trainer.ema_decay is not None and not 0 < trainer.ema_decay < 1:
        raise ConfigError(f"trainer.ema_decay={trainer.ema_decay} must lie between 0 and 1, or be null for no average")
    if not all(0 <= beta < 1 for beta in trainer.betas):
        raise ConfigError(f"trainer.betas={list(trainer.betas)} must lie in [0, 1)")
    if not re.fullmatch(r"[\w.-]+", experiment.name):
        raise ConfigError(f"name={experiment.name!r} becomes a folder: use letters, digits, '_', '-' and '.'")


def _check_groups(experiment: Experiment) -> None:
    groups = experiment.lr.groups
    for name, pattern in groups.items():
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ConfigError(f"lr.groups.{name}={pattern!r} is no regular expression: {error}") from error
    for phase, item in experiment.lr.phases.items():
        for name, rate in item.groups.items():
            if name not in groups:
                raise ConfigError(f"lr.phases.{phase}.groups.{name} has no pattern in lr.groups{nearest(name, groups)}")
            if rate is not None and not rate > 0:
                raise ConfigError(
                    f"lr.phases.{phase}.groups.{name}={rate} must be greater than 0, or null to freeze the group"
                )
        for name, pattern in groups.items():
            if pattern is not None and name not in item.groups:
                raise ConfigError(
                    f"lr.phases.{phase}.groups lacks '{name}'; give it a learning rate, or null to freeze it"
                )
    shape = experiment.lr.one_cycle
    if shape.div_factor <= 0 or shape.final_div_factor <= 0:
        raise ConfigError("lr.one_cycle.div_factor and final_div_factor must be greater than 0")
    if not 0 < shape.pct_start < 1:
        raise ConfigError(f"lr.one_cycle.pct_start={shape.pct_start} must lie between 0 and 1")


def _check_phases(experiment: Experiment) -> None:
    """Every phase must train something."""
    for phase, item in experiment.lr.phases.items():
        if not any(rate is not None and experiment.lr.groups[name] is not None for name, rate in item.groups.items()):
            raise ConfigError(f"lr.phases.{phase}.groups are all null: the phase would train nothing; give one a rate")
