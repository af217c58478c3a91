"""What a start on data and a schedule of codebooks must be, before anything is built. No torch here."""

from snac_exp.config.schema import Experiment, Quantizer, Start
from snac_exp.errors import ConfigError


def check_start(experiment: Experiment) -> None:
    """The numbers must be possible, and the recipe must train what they are about.

    Raises:
        ConfigError: naming the key and the mend.
    """
    _check_numbers(experiment.start, experiment.quantizer)
    _check_standardise(experiment)
    _check_codebooks(experiment)


def _check_numbers(start: Start, quantizer: Quantizer) -> None:
    counts = {f"start.{key}": value for key, value in vars(start).items()}
    for key, value in (counts | {"quantizer.restart_below": quantizer.restart_below}).items():
        if not value >= 0:
            raise ConfigError(f"{key}={value} must not be negative")
    if not 0 < quantizer.decay < 1:
        raise ConfigError(f"quantizer.decay={quantizer.decay} must lie between 0 and 1")
    if not quantizer.restart_below < 1:
        raise ConfigError(f"quantizer.restart_below={quantizer.restart_below} must be below 1, a share of the mean")
    if start.autoencoder_steps > 0 and start.kmeans_batches == 0:
        raise ConfigError(
            "start.autoencoder_steps without start.kmeans_batches would go on with codebooks that fit nothing; "
            "set start.kmeans_batches, or start=none"
        )


def _check_standardise(experiment: Experiment) -> None:
    """Scales are set where weights are random; trained ones would be lost."""
    if experiment.start.standardise_batches == 0:
        return
    if experiment.codec.scratch is None:
        raise ConfigError(
            f"start.standardise_batches rescales random weights, and codec={experiment.codec.name} has trained ones; "
            "set it to 0, or choose codec=scratch_24khz"
        )
    if experiment.init_from is not None:
        raise ConfigError(
            "start.standardise_batches rescales random weights, and init_from has trained ones; set it to 0"
        )


def _check_codebooks(experiment: Experiment) -> None:
    """Codebooks that begin anew or move otherwise need an encoder and projections that train with them."""
    asked = _asked(experiment)
    if asked is None:
        return
    task = experiment.task
    frozen = [key for key in ("freeze_encoder", "freeze_vq") if getattr(task, key)]
    if "freeze_vq" in frozen or (frozen and asked.startswith("start.")):
        raise ConfigError(f"{asked} trains codebooks, and task.{frozen[-1]}=true; choose task=codec, or start=none")
    for phase, item in experiment.lr.phases.items() if experiment.start.autoencoder_steps > 0 else ():
        for name, rate in item.groups.items():
            if rate is None and experiment.lr.groups[name] is not None:
                raise ConfigError(
                    f"start.autoencoder_steps trains the whole codec from its first step, and lr.phases.{phase}.groups."
                    f"{name} is null; give it a rate"
                )


def _asked(experiment: Experiment) -> str | None:
    """The first key that is about codebooks and says more than nothing."""
    start, quantizer = experiment.start, experiment.quantizer
    asked = {
        "start.autoencoder_steps": start.autoencoder_steps > 0,
        "start.kmeans_batches": start.kmeans_batches > 0,
        "quantizer.codebooks=average": quantizer.codebooks == "average",
        "quantizer.restart_below": quantizer.restart_below > 0,
        "quantizer.unit_projections": quantizer.unit_projections,
    }
    return next((key for key, value in asked.items() if value), None)
