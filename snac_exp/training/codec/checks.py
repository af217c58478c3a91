"""What a recipe that trains a codec must keep, checked before torch is imported."""

import math
from collections.abc import Mapping
from itertools import chain

from snac_exp.config.loss_terms import term_names
from snac_exp.config.provides import provided_by
from snac_exp.config.schema import Augment, Component, Experiment, Loss, LossTerm
from snac_exp.config.source_code import declared_set, find_definition, parameters_of, public_functions, with_bases
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.metrics.levels import trained_terms
from snac_exp.metrics.table import require_groups
from snac_exp.training.codec.adversary_checks import check_adversary
from snac_exp.training.codec.start_checks import check_start


def check(experiment: Experiment) -> None:
    """A codec has heads with a start and an objective, audio to train on, and stages in seconds.

    Raises:
        ConfigError: naming the key and the mend.
    """
    _check_objective(experiment)
    _check_init(experiment)
    check_adversary(experiment.adversary, experiment.heads)
    if experiment.codec.kind != "snac":
        raise ConfigError(f"codec={experiment.codec.name}: only SNAC can be trained; choose another codec")
    for key, value in (("lm", experiment.lm), ("loss.tokens", experiment.loss.tokens)):
        if value is not None:
            raise ConfigError(f"{key} belongs to token models; leave it out, or choose task=rvq_lm")
    for name, stage in experiment.curriculum.stages.items():
        if stage.segment_seconds is None:
            raise ConfigError(f"curriculum.stages.{name}.segment_frames is for token models; set segment_seconds")
    require_groups(experiment.trainer.summary_quality, "trainer.summary_quality")
    _check_data(experiment)
    _check_quantizer(experiment)
    check_start(experiment)
    _check_phases(experiment)


def _check_data(experiment: Experiment) -> None:
    """Heads need audio as their target, and what is not frozen or made louder needs it as input, not cached codes."""
    target, provides = experiment.data.target, provided_by(experiment.data)
    if "audio" not in provides:
        raise ConfigError(
            f"data: {target} gives {' and '.join(sorted(provides)) or 'nothing'}; task={experiment.task.name} needs "
            "audio: choose data=cached_codes, audio_folder, mixture, mixture_folders or demo_speech"
        )
    trained = _not_frozen(experiment)
    if trained and "codes" in provides:
        raise ConfigError(f"task.{trained[0]}=false: cached codes are of a frozen encoder; choose data=audio_folder")
    for key, value in vars(experiment.augment).items():
        if value is not None and "codes" in provides:
            raise ConfigError(
                f"augment.{key} changes input and target alike, and cached codes are of audio as it was; "
                "choose augment=none or data=audio_folder"
            )
    _check_augment(experiment.augment)


def _check_augment(augment: Augment) -> None:
    if augment.gain_db is not None and not -math.inf < augment.gain_db[0] <= augment.gain_db[1] < math.inf:
        raise ConfigError(f"augment.gain_db={list(augment.gain_db)} must be the lowest and the highest gain in dB")
    if augment.equalizer_db is not None and not 0 < augment.equalizer_db <= 12:
        raise ConfigError(
            f"augment.equalizer_db={augment.equalizer_db:g} must lie above 0 and be at most 12 dB, or null"
        )


def _check_quantizer(experiment: Experiment) -> None:
    """The quantizer's losses and dropout are possible; random weights leave nothing to freeze."""
    if experiment.codec.scratch is not None and len(_not_frozen(experiment)) < 2:
        raise ConfigError(f"codec={experiment.codec.name} has random weights: nothing may be frozen; choose task=codec")
    for key, value in vars(experiment.loss.codebook).items():
        if value < 0:
            raise ConfigError(f"loss.codebook.{key}={value} must not be negative")
    dropout = experiment.task.quantizer_dropout
    if not 0 <= dropout <= 1:
        raise ConfigError(f"task.quantizer_dropout={dropout} must lie between 0 and 1")


def _not_frozen(experiment: Experiment) -> list[str]:
    frozen = {"freeze_encoder": experiment.task.freeze_encoder, "freeze_vq": experiment.task.freeze_vq}
    return [name for name, value in frozen.items() if not value]


def _check_phases(experiment: Experiment) -> None:
    """Every phase must have a head that counts, and every such head a term."""
    for phase in experiment.lr.phases:
        weights = experiment.loss.head_weights(phase)
        trained = [head for head in experiment.heads if weights[head]]
        if not trained:
            raise ConfigError(f"every head has weight 0 in phase {phase}: set loss.weights or loss.phases.{phase}")
        for head in trained:
            if not trained_terms(experiment.loss, head, phase):
                raise ConfigError(
                    f"{head} has no term to train on in phase {phase}: give one a weight in loss.terms, "
                    f"loss.head_terms.{head} or loss.phase_terms.{phase}"
                )


def _check_objective(experiment: Experiment) -> None:
    loss, heads = experiment.loss, experiment.heads
    # null takes back a head that the recipe weighs and this choice of heads does not have.
    absent = {head for head, weight in loss.weights.items() if weight is None}
    _same_heads("loss.weights", set(loss.weights) - absent, set(heads))
    for phase, weights in loss.phases.items():
        if phase not in experiment.lr.phases:
            raise ConfigError(f"loss.phases.{phase} is no phase of lr.phases{nearest(phase, experiment.lr.phases)}")
        _known(f"loss.phases.{phase}", weights, heads, absent)
    _not_negative("loss.weights", loss.weights)
    for phase, weights in loss.phases.items():
        _not_negative(f"loss.phases.{phase}", weights)
    _check_phase_terms(experiment)
    for head, sizes in loss.n_ffts.items():
        # The hop is a quarter of the size.
        if not sizes or any(size < 4 for size in sizes):
            raise ConfigError(f"loss.n_ffts.{head}={sizes} must list STFT sizes in samples, like [1024, 2048, 4096]")
    _known("loss.n_ffts", loss.n_ffts, heads, absent)
    _known("loss.head_terms", loss.head_terms, heads, absent)
    for head in heads:
        if head not in loss.n_ffts:
            raise ConfigError(f"loss.n_ffts lacks '{head}'; give its STFT sizes in samples, like [1024, 2048, 4096]")
    _check_terms(loss)


def _check_phase_terms(experiment: Experiment) -> None:
    """Phases are those of the recipe, and weigh terms that validations measure."""
    for phase, weights in experiment.loss.phase_terms.items():
        key = f"loss.phase_terms.{phase}"
        if phase not in experiment.lr.phases:
            known = nearest(phase, experiment.lr.phases)
            raise ConfigError(f"{key} is no phase of lr.phases (~{key} leaves it out){known}")
        for name in weights:
            if name not in experiment.loss.terms:
                raise ConfigError(f"{key}.{name} is no term of loss.terms{nearest(name, experiment.loss.terms)}")
        _not_negative(key, weights)


def _check_terms(loss: Loss) -> None:
    """Bare numbers are terms of snac_exp/losses/terms; heads weight these and the described ones."""
    for name, item in loss.terms.items():
        if isinstance(item, LossTerm):
            _check_term(f"loss.terms.{name}", item.component)
    known = [*term_names(), *(name for name, item in loss.terms.items() if isinstance(item, LossTerm))]
    places = {f"loss.head_terms.{head}": weights for head, weights in loss.head_terms.items()}
    for key, weights in ({"loss.terms": loss.term_weights()} | places).items():
        for name in weights:
            if name not in known:
                raise ConfigError(f"{key}.{name} is no loss term{nearest(name, known)}")
        _not_negative(key, weights)


def _check_term(key: str, term: Component) -> None:
    """A term is a function of a SignalPair, or a class whose `forward` is one; nothing else is ever called."""
    # Read from its source, since importing it would mostly import torch.
    definition = find_definition(term.target, key)
    takes_pair = "SignalPair" in parameters_of(term.target, key).values()
    if not takes_pair and not any("forward" in item.methods for item in with_bases(definition)):
        raise ConfigError(
            f"{key}: {term.target} is no loss term: give it an argument `pair: SignalPair`, or a method `forward`"
        )


def _not_negative(key: str, weights: Mapping[str, float | None]) -> None:
    for name, weight in weights.items():
        if weight is not None and not 0 <= weight < math.inf:
            raise ConfigError(f"{key}.{name}={weight} must not be negative, and finite")


def _same_heads(key: str, named: set[str], heads: set[str]) -> None:
    for name in named - heads:
        raise ConfigError(f"{key}.{name} has no head; add the head, or set {key}.{name}=null{nearest(name, heads)}")
    for name in heads - named:
        raise ConfigError(f"{key} lacks head '{name}'; give it a weight (0 = measured, not trained)")


def _known(key: str, names: Mapping[str, object], heads: Mapping[str, object], absent: set[str]) -> None:
    for name in names:
        if name not in heads and name not in absent:
            raise ConfigError(f"{key}.{name} has no head{nearest(name, heads)}")


def _check_init(experiment: Experiment) -> None:
    if experiment.init is None:
        raise ConfigError("init.name says how new heads start: choose init=average, first, random or residual")
    chosen = experiment.init.name
    inits = {name: _inits_of(name, head) for name, head in experiment.heads.items()}
    known = {*public_functions("snac_exp.codec.init", "init.name"), *chain.from_iterable(inits.values())}
    if chosen not in known:
        raise ConfigError(f"init.name={chosen} is no way to start{nearest(chosen, known)}")
    for name, own in inits.items():
        if own and chosen not in own:
            raise ConfigError(
                f"init.name={chosen} does not start heads.{name}, a {experiment.heads[name].target.split('.')[-1]}: "
                f"choose init={' or '.join(sorted(own))}, or other heads"
            )


def _inits_of(name: str, head: Component) -> frozenset[str]:
    """Ways to start that a head class declares; an empty set means that it starts as it was built."""
    inits = declared_set(head.target, "inits", f"heads.{name}")
    if inits is None:
        raise ConfigError(f"heads.{name}: {head.target} is no head: derive it from snac_exp.codec.heads.Head")
    return inits
