"""From an experiment to everything it trains with."""

from snac_exp.config.schema import Experiment
from snac_exp.config.task_package import door_of
from snac_exp.training.setup import TrainingSetup


def build(experiment: Experiment) -> TrainingSetup:
    """Let the task's package build model and task at their start, open the data and sort the parameters.

    Raises:
        CodecError, DataError, ConfigError: something is missing or does not fit; the message names the mend.
    """
    setup: TrainingSetup = door_of(experiment.task.name, "build").build(experiment)
    return setup
