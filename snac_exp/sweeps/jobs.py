"""The jobs of a sweep before any is submitted: composed, checked by building their parts, and estimated."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from snac_exp.config.compose import compose_experiment
from snac_exp.config.meaning.digest import meaning_hash
from snac_exp.config.schema import Experiment
from snac_exp.errors import ConfigError, SnacExpError
from snac_exp.tracking.alerts.alerts import require_address
from snac_exp.tracking.mirrors.packages import require_trackers
from snac_exp.tracking.sections import validation_key
from snac_exp.training.plan import EpochPlan, unroll


@dataclass(frozen=True)
class Job:
    """One job that may be submitted.

    validations: steps between its first and its last one after which it validates. measured: names of what it logs
    there; None where its task does not say.
    """

    index: int
    overrides: list[str]  # all of them, as stored with the run
    varied: list[str]  # those in which the jobs differ
    experiment: Experiment
    values: dict[str, Any]
    num_epochs: int
    num_steps: int
    audio_hours: float
    validations: Sequence[int] = ()
    measured: Sequence[str] | None = None

    @property
    def hash(self) -> str:
        """Short hash of what the job means."""
        return meaning_hash(self.values)

    @property
    def title(self) -> str:
        """How messages name the job."""
        return f"job {self.index} ({' '.join(self.varied) or 'as it stands'})"


class JobChecker:
    """Composes jobs and builds each distinct one once, exactly as its process will: codec, data, cache, parameters.

    Jobs that differ only in how they train (learning rates, schedules, steps) share one build.
    """

    def __init__(self) -> None:
        self._built: dict[str, tuple[Any, Any, Sequence[str] | None]] = {}

    def check(self, index: int, overrides: list[str], varied: list[str]) -> Job:
        """One job, checked.

        Raises:
            ConfigError: the job would fail at its start; the message names it and the reason.
        """
        try:
            experiment, values = compose_experiment(overrides)
            # Asked for now: a job that starts hours later in a queue has nobody to type a key.
            require_trackers(experiment.tracker)
            require_address(experiment.alerts)
            data_module, geometry, measured = self._build(experiment, values)
            plan = unroll(experiment, geometry).counted(data_module.num_items)
        except SnacExpError as error:
            named = f"job {index} ({' '.join(varied) or 'as it stands'})"
            raise ConfigError(f"{named}: {error}\nNothing was submitted; fix this job or leave it out") from error
        seconds = sum(
            _num_items(epoch, data_module.num_items(epoch)) * data_module.item_seconds(epoch) for epoch in plan.epochs
        )
        counted = (plan.num_epochs, plan.num_steps, seconds / 3600, plan.validations(experiment.trainer))
        return Job(index, overrides, varied, experiment, values, *counted, measured)

    def _build(self, experiment: Experiment, values: dict[str, Any]) -> tuple[Any, Any, Sequence[str] | None]:
        keys = ("codec", "heads", "init", "data", "task", "loss", "seed", "lm", "augment", "adversary", "init_from")
        parts = {name: values.get(name) for name in keys}
        # All that decides what is built; jobs that differ elsewhere need no second build.
        key = json.dumps([parts, values.get("lr", {}).get("groups")], sort_keys=True)
        if key not in self._built:
            # torch is loaded only here, when the config has passed.
            from snac_exp.training.build import build

            built = build(experiment)
            names = built.evaluator.measured()
            logged = None if names is None else [validation_key(name) for name in names]
            self._built[key] = (built.data_module, built.geometry, logged)
        return self._built[key]


def _num_items(epoch: EpochPlan, of_data: int) -> int:
    """Items of a part of an epoch, whose last batch may be smaller."""
    return min(of_data, epoch.end_batch * epoch.batch_size) - epoch.first_batch * epoch.batch_size


def refuse_doubles(jobs: Sequence[Job]) -> None:
    """Two jobs that mean the same would write the same folder.

    Raises:
        ConfigError: naming both.
    """
    # By the hash of what they mean: 1e-4 and 0.0001 are one job.
    seen: dict[str, Job] = {}
    for job in jobs:
        if job.hash in seen:
            raise ConfigError(
                f"{seen[job.hash].title} and {job.title} are the same job: they differ in nothing that changes the "
                "result; leave one out"
            )
        seen[job.hash] = job


def job_table(jobs: Sequence[Job], title: str) -> Table:
    """What would be submitted, a row per job."""
    table = Table(title=title)
    table.add_column("job", justify="right")
    for name in ("hash", "overrides"):
        table.add_column(name, overflow="fold")
    for name in ("epochs", "steps", "audio-hours"):
        table.add_column(name, justify="right")
    for job in jobs:
        cells = (str(job.num_epochs), str(job.num_steps), f"{job.audio_hours:.3g}")
        table.add_row(str(job.index), job.hash, escape("\n".join(job.varied)), *cells)
    total = (str(sum(job.num_steps for job in jobs)), f"{sum(job.audio_hours for job in jobs):.3g}")
    table.add_section()
    table.add_row("all", "", "", "", *total)
    return table
