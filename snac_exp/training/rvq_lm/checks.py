"""What a recipe that trains a token model must keep, checked before torch is imported."""

from snac_exp.config.provides import provided_by
from snac_exp.config.schema import Augment, Experiment, Quantizer, Start
from snac_exp.errors import ConfigError


def check(experiment: Experiment) -> None:
    """A token model has sizes, an objective on tokens, tokens to train on, and stages that fit its context.

    Raises:
        ConfigError: naming the key and the mend.
    """
    if experiment.lm is None:
        raise ConfigError("task=rvq_lm needs a model: add lm=toy, run1_base, run2_big, run3_fast or next_896")
    if experiment.loss.tokens is None:
        raise ConfigError("task=rvq_lm needs loss.tokens; choose loss=tokens or loss=tokens_plain")
    loss = experiment.loss
    if any((experiment.heads, loss.weights, loss.terms, loss.head_terms, loss.phases, loss.phase_terms)):
        raise ConfigError("a token model has no heads and no reconstruction terms; choose heads=none, loss=tokens")
    if experiment.adversary.kind != "none":
        raise ConfigError(f"adversary={experiment.adversary.kind} scores audio, not tokens; choose adversary=none")
    if experiment.augment != Augment():
        raise ConfigError("augment changes audio, and tokens stay as they are; choose augment=none")
    for key, value, plain in (("start", experiment.start, Start()), ("quantizer", experiment.quantizer, Quantizer())):
        if value != plain:
            raise ConfigError(f"{key} is for codecs that are trained whole; choose start=none and quantizer=gradient")
    if experiment.init is not None:
        raise ConfigError(f"init={experiment.init.name} is for wide-band heads; choose init=none")
    if experiment.trainer.summary_quality:
        raise ConfigError(
            "trainer.summary_quality measures audio, and the summary of a token model holds none; leave it"
        )
    if experiment.trainer.kernels == "triton":
        raise ConfigError("trainer.kernels=triton is for the codec's layers, of which a token model has none; leave it")
    if "tokens" not in provided_by(experiment.data):
        raise ConfigError(
            f"data: {experiment.data.target} gives no tokens; choose data=code_cache_tokens, npq or mixture_tokens "
            "for task=rvq_lm"
        )
    _check_stages(experiment, experiment.lm.ctx_frames)


def _check_stages(experiment: Experiment, ctx_frames: int) -> None:
    for name, stage in experiment.curriculum.stages.items():
        if stage.segment_frames is None:
            raise ConfigError(f"curriculum.stages.{name}.segment_seconds is for codecs; set segment_frames")
        if stage.segment_frames > ctx_frames:
            raise ConfigError(
                f"curriculum.stages.{name}.segment_frames={stage.segment_frames} exceeds "
                f"lm.ctx_frames={ctx_frames}; shorten the stage or lengthen the context"
            )
