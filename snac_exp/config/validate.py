"""What no single key can say: that the groups of a recipe fit together."""

import re

from snac_exp.config.cadence.periodic import check_periodic
from snac_exp.config.cadence.ranges import timetable
from snac_exp.config.limits.alerts import check_alerts
from snac_exp.config.limits.trackio import check_trackio
from snac_exp.config.limits.wandb import check_wandb
from snac_exp.config.schema import Experiment, Trainer
from snac_exp.config.structure import nearest
from snac_exp.config.task_package import door_of
from snac_exp.errors import ConfigError

MAX_FOLDER_BYTES = 200  # file systems take 255, and a sweep adds its own name
TRAINER_ABOVE_ZERO = (
    *("batch_size", "validation_batch_size", "grad_clip", "devices", "log_every_steps", "validate_every_epochs"),
    *("preflight_rows", "accumulation", "samples_every_epochs"),
    *("max_steps_per_epoch", "num_threads", "prefetch"),
    *("max_steps", "validate_every_steps", "samples_every_steps"),
)
"""Keys of the trainer whose values must be above 0, where they are not null."""


def validate(experiment: Experiment) -> None:
    """Check the experiment across its groups.

    Raises:
        ConfigError: naming the key and the mend.
    """
    _check_numbers(experiment)
    timetable(experiment.curriculum, experiment.lr, experiment.trainer.max_steps)
    check_periodic(experiment.trainer)
    _check_groups(experiment)
    _check_phases(experiment)
    check_wandb(experiment)
    check_trackio(experiment.tracker)
    check_alerts(experiment.alerts)
    # Last: what a task checks builds on ranges and groups that fit together.
    door_of(experiment.task.name, "checks").check(experiment)


def _check_numbers(experiment: Experiment) -> None:
    """Every number must be possible by itself."""
    for key, value in (_of_trainer_and_checkpoint(experiment) | _of_stages(experiment)).items():
        # Written so that NaN is refused too.
        if not value > 0:
            raise ConfigError(f"{key}={value} must be greater than 0")
    for name in ("weight_decay", "num_workers", "num_sample_clips", "summary_utterances"):
        if (getattr(experiment.trainer, name) or 0) < 0:
            raise ConfigError(f"trainer.{name}={getattr(experiment.trainer, name)} must not be negative")
    _check_optimizer(experiment.trainer)
    if not re.fullmatch(r"[\w.-]+", experiment.name):
        raise ConfigError(f"name={experiment.name!r} becomes a folder: use letters, digits, '_', '-' and '.'")
    if len(experiment.name.encode()) > MAX_FOLDER_BYTES:
        raise ConfigError(f"name={experiment.name!r} becomes a folder: use at most {MAX_FOLDER_BYTES} bytes")


def _of_trainer_and_checkpoint(experiment: Experiment) -> dict[str, float]:
    """Values by key that must be above 0; those that are null say nothing."""
    positive = {f"trainer.{name}": getattr(experiment.trainer, name) for name in TRAINER_ABOVE_ZERO}
    positive |= {f"checkpoint.{name}": value for name, value in vars(experiment.checkpoint).items()}
    return {key: value for key, value in positive.items() if value is not None}


def _of_stages(experiment: Experiment) -> dict[str, float]:
    """The length and the batch multiplier of every stage, which must be above 0; a stage has one length."""
    positive: dict[str, float] = {}
    for name, stage in experiment.curriculum.stages.items():
        lengths = {"segment_seconds": stage.segment_seconds, "segment_frames": stage.segment_frames}
        lengths_set = {key: value for key, value in lengths.items() if value is not None}
        if len(lengths_set) != 1:
            raise ConfigError(f"curriculum.stages.{name} needs one of segment_seconds and segment_frames")
        positive |= {f"curriculum.stages.{name}.{key}": value for key, value in lengths_set.items()}
        positive[f"curriculum.stages.{name}.batch_multiplier"] = stage.batch_multiplier
    return positive


def _check_optimizer(trainer: Trainer) -> None:
    if trainer.fused_optimizer and trainer.precision == "16-mixed":
        raise ConfigError("trainer.fused_optimizer=true cannot clip scaled gradients: choose it or precision=16-mixed")
    if trainer.ema_decay is not None and not 0 < trainer.ema_decay < 1:
        raise ConfigError(f"trainer.ema_decay={trainer.ema_decay} must lie between 0 and 1, or be null for no average")
    if not all(0 <= beta < 1 for beta in trainer.betas):
        raise ConfigError(f"trainer.betas={list(trainer.betas)} must lie in [0, 1)")


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
