"""What no single key can say: that the parts of a recipe fit together."""

import re
from collections.abc import Mapping
from typing import Protocol

from snac_exp.config.adversary_checks import check_adversary
from snac_exp.config.schema import Experiment
from snac_exp.config.source_code import public_functions
from snac_exp.config.structure import nearest
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
    {"codec": _check_codec_task, "rvq_lm": _check_token_task}[experiment.task.name](experiment)


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
        given = {key: value for key, value in lengths.items() if value is not None}
        if len(given) != 1:
            raise ConfigError(f"curriculum.stages.{name} needs one of segment_seconds and segment_frames")
        positive |= {f"curriculum.stages.{name}.{key}": value for key, value in given.items()}
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


def _check_objective(experiment: Experiment) -> None:
    loss, heads = experiment.loss, experiment.heads
    absent = {head for head, weight in loss.weights.items() if weight is None}
    _same_heads("loss.weights", set(loss.weights) - absent, set(heads))
    for phase, weights in loss.phases.items():
        if phase not in experiment.lr.phases:
            raise ConfigError(f"loss.phases.{phase} is no phase of lr.phases{nearest(phase, experiment.lr.phases)}")
        _known(f"loss.phases.{phase}", weights, heads, absent)
    _not_negative("loss.weights", loss.weights)
    for phase, weights in loss.phases.items():
        _not_negative(f"loss.phases.{phase}", weights)
    for head, sizes in loss.n_ffts.items():
        if not sizes or any(size < 4 for size in sizes):
            raise ConfigError(f"loss.n_ffts.{head}={sizes} must list STFT sizes in samples, like [1024, 2048, 4096]")
    _known("loss.n_ffts", loss.n_ffts, heads, absent)
    _known("loss.head_terms", loss.head_terms, heads, absent)
    for head in heads:
        if head not in loss.n_ffts:
            raise ConfigError(f"loss.n_ffts lacks '{head}'; give its STFT sizes in samples, like [1024, 2048, 4096]")
    terms = loss_terms()
    for key, names in [
        ("loss.terms", loss.terms),
        *((f"loss.head_terms.{head}", item) for head, item in loss.head_terms.items()),
    ]:
        for name, weight in names.items():
            if name not in terms:
                raise ConfigError(f"{key}.{name} is no loss term{nearest(name, terms)}")
            if weight < 0:
                raise ConfigError(f"{key}.{name}={weight} must not be negative")


def loss_terms() -> list[str]:
    """Names of all reconstruction terms: the public functions of `snac_exp.losses.reconstruction`."""
    return public_functions("snac_exp.losses.reconstruction", "loss.terms")


def _not_negative(key: str, weights: Mapping[str, float | None]) -> None:
    for head, weight in weights.items():
        if weight is not None and weight < 0:
            raise ConfigError(f"{key}.{head}={weight} must not be negative")


def _same_heads(key: str, given: set[str], heads: set[str]) -> None:
    for name in given - heads:
        raise ConfigError(f"{key}.{name} has no head; add the head, or set {key}.{name}=null{nearest(name, heads)}")
    for name in heads - given:
        raise ConfigError(f"{key} lacks head '{name}'; give it a weight (0 = measured, not trained)")


def _known(key: str, names: Mapping[str, object], heads: Mapping[str, object], absent: set[str]) -> None:
    for name in names:
        if name not in heads and name not in absent:
            raise ConfigError(f"{key}.{name} has no head{nearest(name, heads)}")


def _check_phases(experiment: Experiment) -> None:
    """Every phase must train something."""
    for phase, item in experiment.lr.phases.items():
        if not any(rate is not None and experiment.lr.groups[name] is not None for name, rate in item.groups.items()):
            raise ConfigError(f"lr.phases.{phase}.groups are all null: the phase would train nothing; give one a rate")


def _check_codec_task(experiment: Experiment) -> None:
    """A codec has heads with a start and an objective, and stages in seconds."""
    _check_objective(experiment)
    _check_init(experiment)
    check_adversary(experiment.adversary, experiment.heads)
    if experiment.codec.kind != "snac":
        raise ConfigError(f"codec={experiment.codec.name}: only SNAC can be trained; choose another codec")
    for key, given in (("lm", experiment.lm), ("loss.tokens", experiment.loss.tokens)):
        if given is not None:
            raise ConfigError(f"{key} belongs to token models; leave it out, or choose task=rvq_lm")
    for name, stage in experiment.curriculum.stages.items():
        if stage.segment_seconds is None:
            raise ConfigError(f"curriculum.stages.{name}.segment_frames is for token models; set segment_seconds")
    _check_freezing(experiment)
    for phase in experiment.lr.phases:
        weights = experiment.loss.weights | experiment.loss.phases.get(phase, {})
        if not any(weights[head] for head in experiment.heads):
            raise ConfigError(f"every head has weight 0 in phase {phase}: set loss.weights or loss.phases.{phase}")


def _check_freezing(experiment: Experiment) -> None:
    """What is not frozen needs raw audio and a sensible objective; random weights leave nothing to freeze."""
    task, own = experiment.task, experiment.loss.codebook
    frozen = {"freeze_encoder": task.freeze_encoder, "freeze_vq": task.freeze_vq}
    thawed = [name for name, value in frozen.items() if not value]
    if thawed and experiment.data.target == "snac_exp.data.slices.cached_codes.CachedCodes":
        raise ConfigError(f"task.{thawed[0]}=false: cached codes are of a frozen encoder; choose data=audio_folder")
    if experiment.codec.scratch is not None and len(thawed) < 2:
        raise ConfigError(f"codec={experiment.codec.name} has random weights: nothing may be frozen; choose task=codec")
    for key, value in {"commitment": own.commitment, "codebook": own.codebook, "unevenness": own.unevenness}.items():
        if value < 0:
            raise ConfigError(f"loss.codebook.{key}={value} must not be negative")
    if not 0 <= task.quantizer_dropout <= 1:
        raise ConfigError(f"task.quantizer_dropout={task.quantizer_dropout} must lie between 0 and 1")


def _check_token_task(experiment: Experiment) -> None:
    """A token model has sizes, an objective on tokens, and stages in frames that fit its context."""
    if experiment.lm is None:
        raise ConfigError("task=rvq_lm needs a model: add lm=toy, run1_base, run2_big, run3_fast or next_896")
    if experiment.loss.tokens is None:
        raise ConfigError("task=rvq_lm needs loss.tokens; choose loss=tokens or loss=tokens_plain")
    if experiment.heads or experiment.loss.weights or experiment.loss.terms:
        raise ConfigError("a token model has no heads and no reconstruction terms; choose heads=none, loss=tokens")
    if experiment.adversary.kind != "none":
        raise ConfigError(f"adversary={experiment.adversary.kind} judges audio, not tokens; choose adversary=none")
    if experiment.init is not None:
        raise ConfigError(f"init={experiment.init.name} is for wide-band heads; choose init=none")
    for name, stage in experiment.curriculum.stages.items():
        if stage.segment_frames is None:
            raise ConfigError(f"curriculum.stages.{name}.segment_seconds is for codecs; set segment_frames")
        if stage.segment_frames > experiment.lm.ctx_frames:
            raise ConfigError(
                f"curriculum.stages.{name}.segment_frames={stage.segment_frames} exceeds "
                f"lm.ctx_frames={experiment.lm.ctx_frames}; shorten the stage or lengthen the context"
            )


def _check_init(experiment: Experiment) -> None:
    if experiment.init is None:
        raise ConfigError("init.name says how new heads start: choose init=average, first, random or residual")
    inits = public_functions("snac_exp.codec.init", "init.name")
    if experiment.init.name not in inits:
        raise ConfigError(f"init.name={experiment.init.name} is no way to start{nearest(experiment.init.name, inits)}")
