"""Going on with a run that may be the trial of a search."""

from snac_exp.config.schema import Experiment
from snac_exp.runs.run import resume
from snac_exp.sweeps.bayesian.pruning import judge_of
from snac_exp.tracking.run_folder import RunFolder


def resume_judged(experiment: Experiment, folder: RunFolder) -> int:
    """As `resume`; a trial that is not worth its other steps ends early. Returns the exit status."""
    return resume(experiment, folder, judge_of(folder))
