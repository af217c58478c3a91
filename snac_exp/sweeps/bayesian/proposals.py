"""The next trials of a Bayesian search, proposed by Optuna from the ledger.

The ledger is the study: before every batch a study is made of its rows and asked, each time with a seed that is a
function of the trial's number. So nothing but the ledger has to survive, and a search that was interrupted goes on
with the very trials it would have made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snac_exp.config.seeding import derive_seed
from snac_exp.errors import ConfigError
from snac_exp.sweeps.bayesian.pruning import Curve, Pruning
from snac_exp.sweeps.bayesian.space import Dimension, size, values_of
from snac_exp.sweeps.jobs import Job, JobChecker
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.settings import Goal

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import TrialState

ATTEMPTS = 200  # draws for one trial before the space counts as exhausted; all but the first are random


@dataclass(frozen=True)
class Search:
    """What is searched. `fixed` overrides are in all jobs; `parallel` trials do not know of each other's results."""

    space: list[Dimension]
    fixed: list[str]
    num_trials: int
    parallel: int
    startup_trials: int
    seed: int
    pruning: Pruning | None = None

    def __post_init__(self) -> None:
        for name in ("num_trials", "parallel", "startup_trials"):
            if getattr(self, name) < 1:
                raise ConfigError(f"hydra.sweeper.{name}={getattr(self, name)} must be at least 1")


@dataclass(frozen=True)
class Refused:
    """A trial that cannot be: its numbers do not go together."""

    index: int
    varied: list[str]
    reason: str


def propose(
    search: Search,
    goal: Goal,
    rows: Sequence[Row],
    count: int,
    checker: JobChecker,
    curves: Mapping[str, Curve] | None = None,
) -> list[Job | Refused]:
    """The next trials, composed and checked, each unlike all before; fewer than `count` where there are no more.

    curves: what trials have measured, by the hashes of their jobs; those of pruned ones stand for their results.
    """
    study = study_of_rows(search, goal, rows, curves or {})
    hashes, seen = {row.hash for row in rows}, {tuple(row.overrides) for row in rows}
    proposals: list[Job | Refused] = []
    # Behind the last number, not their count: a job may have been left out of the ledger.
    first = max((row.job for row in rows), default=-1) + 1
    for index in range(first, first + count):
        # A space that is used up is not searched once more.
        for attempt in range(ATTEMPTS if len(seen) < size(search.space) else 0):
            varied = _ask(study, search, index, attempt)
            item = None if tuple(varied) in seen else _checked(search, index, varied, checker)
            # Two texts may mean the same job, so what it means is compared too.
            if item is not None and not (isinstance(item, Job) and item.hash in hashes):
                proposals.append(item)
                seen.add(tuple(varied))
                hashes.update([item.hash] if isinstance(item, Job) else [])
                break
            # A draw that is not taken would stay open in the study.
            _withdraw(study)
    return proposals


def study_of_rows(search: Search, goal: Goal, rows: Sequence[Row], curves: Mapping[str, Curve]) -> "Study":
    """The ledger as Optuna's study: finished jobs have values, pruned ones those of their curves, those that run are
    expected, all others failed."""
    import optuna
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=goal)
    distributions = {dimension.key: dimension.distribution() for dimension in search.space}
    for row in rows:
        state = _state(row)
        trial = create_trial(
            state=state,
            value=row.best if row.state == "finished" else None,
            intermediate_values=dict(curves.get(row.hash, {})),
            params=values_of(search.space, row.overrides),
            distributions=distributions,
            user_attrs={"job": row.job, "run_dir": row.run_dir},
        )
        study.add_trial(trial)
    return study


def _state(row: Row) -> "TrialState":
    from optuna.trial import TrialState

    if row.state == "finished" and row.best is None:
        return TrialState.FAIL
    known = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    return known.get(row.state, TrialState.RUNNING if row.state in ("running", "queued") else TrialState.FAIL)


def _ask(study: "Study", search: Search, index: int, attempt: int) -> list[str]:
    """Overrides of one proposal; the seed is a function of the trial, not of those drawn before."""
    from optuna.samplers import RandomSampler, TPESampler

    seed = derive_seed(search.seed, "trial", index, attempt) % 2**32  # NumPy's seeds have 32 bits
    startup = search.startup_trials
    # A second draw of the same model would mostly be the first one again, so it is random.
    study.sampler = RandomSampler(seed) if attempt else TPESampler(seed=seed, n_startup_trials=startup)
    trial = study.ask({dimension.key: dimension.distribution() for dimension in search.space})
    return [dimension.override(trial.params[dimension.key]) for dimension in search.space]


def _withdraw(study: "Study") -> None:
    from optuna.trial import TrialState

    study.tell(study.trials[-1].number, state=TrialState.FAIL)


def _checked(search: Search, index: int, varied: list[str], checker: JobChecker) -> Job | Refused:
    try:
        return checker.check(index, [*search.fixed, *varied], varied)
    except ConfigError as error:
        return Refused(index, varied, str(error).splitlines()[0])
