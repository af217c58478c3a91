"""Pruning: the trials of a search that are not worth their other steps end early, as Optuna's pruners say.

A trial judges itself, in its own process: after each validation it reads what all trials have measured out of their
metrics.jsonl, tells that to Optuna, and asks. The files of the runs are all there is: no message that could be lost, no
second store that could say something else than the runs, nothing that a killed driver owes. So it is the same for
processes of one machine and for jobs of SLURM on a shared file system, where trials do nothing but read each other's
files; a line of metrics.jsonl is there whole or not at all. What a trial cannot see yet of another, because both
measure at the same time, it does not count: `asha` is made for that, and `median` counts finished trials alone.
"""

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.metrics.table import metric_of
from snac_exp.sweeps.jobs import Job
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.settings import Goal
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.process import TRIAL
from snac_exp.system.stop_request import Pruned
from snac_exp.tracking.metrics_file import lines_of_kind
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import status_of
from snac_exp.tracking.sweep_folder import SweepFolder

if TYPE_CHECKING:
    from optuna import Study

Curve = Mapping[int, float]
"""Values of the sweep's metric by step; NaN where one was not finite."""


@dataclass(frozen=True)
class Pruning:
    """How trials are pruned: the keys of conf/hydra/sweeper/optuna.yaml. pruner None: not at all; warmup_steps None:
    from the first validation on.

    Raises:
        ConfigError: a number that is not possible.
    """

    pruner: Literal["median", "asha"] | None
    warmup_steps: int | None
    min_trials: int
    reduction_factor: int

    def __post_init__(self) -> None:
        for name, least in {"warmup_steps": 1, "min_trials": 1, "reduction_factor": 2}.items():
            given = getattr(self, name)
            if given is not None and given < least:
                raise ConfigError(f"hydra.sweeper.{name}={given} must be at least {least}")

    def for_trials(self, jobs: Sequence[Job]) -> "Pruning | None":
        """The same with its warm-up settled, for trials like these; None: they are not pruned.

        Raises:
            ConfigError: one could never be pruned, or would be compared before it has validated.
        """
        if self.pruner is None:
            return None
        for job in jobs:
            _check_validations(self, job)
        first = max(job.validations[0] for job in jobs)
        return replace(self, warmup_steps=first if self.warmup_steps is None else self.warmup_steps)


def _check_validations(pruning: Pruning, job: Job) -> None:
    """Trials are judged at validations before their last step, from the warm-up on."""
    steps, warmup = job.validations, pruning.warmup_steps
    if not steps:
        raise ConfigError(
            f"hydra.sweeper.pruner={pruning.pruner}: {job.title} validates at no step between its first and its last, "
            f"{job.num_steps}; lower trainer.validate_every_epochs or set trainer.validate_every_steps"
        )
    if warmup is not None and warmup > steps[-1]:
        raise ConfigError(
            f"hydra.sweeper.warmup_steps={warmup}: {job.title} has {job.num_steps} steps, and its last validation "
            f"before their end is at step {steps[-1]}, so it would never be pruned; choose at most that"
        )
    # Else several of asha's rungs would fall on one validation.
    if pruning.pruner == "asha" and warmup is not None and warmup < steps[0]:
        raise ConfigError(
            f"hydra.sweeper.warmup_steps={warmup} is where trials are compared first, but {job.title} first validates "
            f"at step {steps[0]}; choose at least that, or null"
        )


def refuse_unmeasured(metric: str, jobs: Sequence[Job]) -> None:
    """A search goes by what runs measure while they train.

    Raises:
        ConfigError: the validations of a job do not measure the metric; names what they do.
    """
    for job in jobs:
        if job.measured is not None and metric not in job.measured:
            there = [name for name in job.measured if metric_of(name).better != "closest_to_0"]
            raise ConfigError(
                f"sweep.metric={metric} is not measured at the validations of {job.title}, and a search goes by them, "
                f"not by the summary at a run's end; choose one of: {', '.join(there)}"
            )


@dataclass(frozen=True)
class Trial:
    """What is known of one trial; its curve is empty before it has validated."""

    row: Row
    curve: Curve
    is_finished: bool


class Trials:
    """The trials of a sweep as their own files say; those that have not changed are not read again."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._read: dict[Path, tuple[tuple[int, int], Curve]] = {}
        self._told: set[str] = set()

    def look(self) -> list[Trial]:
        """All trials in order; one with a damaged file is told of once and left out, so that others do not fail of it.

        Raises:
            ConfigError: the ledger is damaged.
        """
        found = []
        for row in self.sweep.rows():
            try:
                # Not the state in the ledger, which is brought up to date only now and then.
                status = status_of(self.sweep.run_dir(row)) or {}
                found.append(Trial(row, self._curve(row), status.get("state") == "finished"))
            except ConfigError as error:
                if row.hash not in self._told:
                    print(f"{row.title} does not count for pruning: {error}", flush=True)
                self._told.add(row.hash)
        return found

    def _curve(self, row: Row) -> Curve:
        path, metric = RunFolder(self.sweep.run_dir(row)).metrics, self.sweep.settings.metric
        if not path.exists():
            return {}
        # Taken before it is read: a line that comes in between is read the next time.
        stat = path.stat()
        signature = stat.st_mtime_ns, stat.st_size
        if path not in self._read or self._read[path][0] != signature:
            lines = lines_of_kind(path, path.read_bytes(), "validation")
            values = {line["step"]: line[metric] for line in lines if metric in line}
            curve = {step: math.nan if value is None else float(value) for step, value in sorted(values.items())}
            self._read[path] = signature, curve
        return self._read[path][1]


class TrialJudge:
    """Asks after every validation of one trial whether it should go on."""

    def __init__(self, sweep: Sweep, run_dir: Path, pruning: Pruning) -> None:
        self.pruning, self.run_dir, self.settings = pruning, run_dir.resolve(), sweep.settings
        self._trials = Trials(sweep)

    def __call__(self, step: int) -> Pruned | None:
        """Why the trial should end after its validation at `step`; None: it goes on.

        Raises:
            ConfigError: the validation has not measured the sweep's metric, or the run is not in the ledger.
        """
        trials, sweep = self._trials.look(), self._trials.sweep
        own = next((trial for trial in trials if sweep.run_dir(trial.row) == self.run_dir), None)
        if own is None:
            raise ConfigError(f"{self.run_dir} is no job of {sweep.ledger}; by hand: python train.py resume=RUN")
        if step not in own.curve:
            raise ConfigError(f"the validation at step {step} has not measured sweep.metric={self.settings.metric}")
        others = [trial for trial in trials if trial is not own]
        reason = verdict(self.pruning, self.settings.goal, own.curve, others)
        return None if reason is None else Pruned(step, f"{self.settings.metric} {reason}")


def judge_of(folder: RunFolder) -> TrialJudge | None:
    """Who judges the run in a folder: None where it is no trial of a search that prunes, was begun by hand, or was
    pruned before, which is for once only.

    Raises:
        ConfigError: the sweep's file is damaged.
    """
    if os.environ.get(TRIAL) != "1" or "pruned" in (folder.status() or {}):
        return None
    # A run that a trial's own process has started elsewhere inherits its environment, and is no trial.
    if not SweepFolder(folder.path.resolve().parent).exists:
        return None
    sweep = Sweep.open(folder.path.resolve().parent)
    pruning = (sweep.search or {}).get("pruning")
    return None if pruning is None else TrialJudge(sweep, folder.path, structure(Pruning, pruning, "hydra.sweeper"))


def verdict(pruning: Pruning, goal: Goal, own: Curve, others: Sequence[Trial]) -> str | None:
    """Why a trial should end after the last value of its curve; None: it goes on."""
    step, value = max(own.items())
    num_there = sum(max(trial.curve, default=-1) >= step for trial in others)
    if num_there < pruning.min_trials or not _should_prune(pruning, goal, own, others):
        return None
    if not math.isfinite(value):
        return "is not finite"
    if pruning.pruner == "asha":
        return (
            f"{value:.6g} is not among the best 1/{pruning.reduction_factor} of {num_there + 1} trials that came here"
        )
    finished = [trial.curve.get(step, math.nan) for trial in others if trial.is_finished]
    known = [number for number in finished if math.isfinite(number)]
    median = statistics.median(known)
    return f"was never better than {median:.6g}, the median that {len(known)} finished trials had here"


def _should_prune(pruning: Pruning, goal: Goal, own: Curve, others: Sequence[Trial]) -> bool:
    """Optuna's word, of a study made of the curves; the trial's own comes last."""
    from optuna.trial import TrialState

    study, should = _study(pruning, goal), False
    for curve, is_finished in [*((trial.curve, trial.is_finished) for trial in others), (own, False)]:
        trial = study.ask()
        for step, value in curve.items():
            trial.report(value, step)
            # Of the others too: asha notes what a trial had at each rung when it is asked there.
            should = trial.should_prune() if curve is own or pruning.pruner == "asha" else False
        if is_finished:
            study.tell(trial, 0.0, state=TrialState.COMPLETE)  # its curve is what counts, which may end with NaN
    return should


def _study(pruning: Pruning, goal: Goal) -> "Study":
    import optuna
    from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert pruning.warmup_steps is not None
    pruner: BasePruner = MedianPruner(pruning.min_trials, pruning.warmup_steps)
    if pruning.pruner == "asha":
        pruner = SuccessiveHalvingPruner(pruning.warmup_steps, pruning.reduction_factor)
    return optuna.create_study(direction=goal, pruner=pruner)
