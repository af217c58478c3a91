"""Sweepers: every combination of the listed values, random draws, or Bayesian search."""

import random
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from snac_exp.sweeps.launcher import SweepLauncher


class GridSweeper(BasicSweeper):
    """Hydra's own expansion, all jobs at once, so that every one is checked before the first is submitted.

    How many run at a time is the launcher's matter. Hydra's check of the jobs is left out: our launchers check more.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        """One batch of every combination."""
        for item in overrides:
            if item.is_sweep_override() and not item.is_discrete_sweep():
                key = item.get_key_element()
                raise HydraException(f"{key}: a grid needs a list; interval(…) is for hydra/sweeper=random or optuna")
        batches: list[list[list[str]]] = BasicSweeper.split_arguments(overrides, max_batch_size)
        return batches

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """See snac_exp.sweeps.jobs.JobChecker."""


class RandomSweeper(GridSweeper):
    """`num_jobs` draws from choice(…), range(…) and interval(low, high); tag(log, interval(…)) draws in the log."""

    def __init__(self, num_jobs: int, seed: int, params: dict[str, str] | None = None) -> None:
        super().__init__(params)
        self.num_jobs, self.seed = num_jobs, seed

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        """One batch of `num_jobs` jobs, the same for the same seed; overrides that do not vary are in all of them."""
        generator = random.Random(self.seed)
        return [[[_drawn(item, generator) for item in overrides] for _ in range(self.num_jobs)]]


class OptunaSweeper(GridSweeper):
    """Bayesian search for the best sweep.metric: see snac_exp.sweeps.bayesian.search, which checks the settings."""

    def __init__(self, params: dict[str, str] | None = None, **settings: Any) -> None:
        super().__init__(params)
        self.settings = settings

    def sweep(self, arguments: list[str]) -> None:
        """Check the space; the trials are made by a process that composes them from the sweep's snapshot."""
        from snac_exp.sweeps.bayesian.search import begin

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        assert isinstance(self.launcher, SweepLauncher)
        begin(self.launcher, overrides, self.settings)


def _drawn(override: Override, generator: random.Random) -> str:
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        return f"{key}={_between(value, generator)}"
    if isinstance(value, ChoiceSweep | RangeSweep):
        return f"{key}={generator.choice(list(override.sweep_string_iterator()))}"
    if override.is_sweep_override():
        raise HydraException(f"{key}: draw from choice(…), range(…) or interval(low, high)")
    return f"{key}={override.get_value_element_as_str()}"


def _between(interval: IntervalSweep, generator: random.Random) -> float | int:
    low, high = interval.start, interval.end
    if low is None or high is None:
        raise HydraException("interval needs both ends: interval(low, high)")
    if "log" in interval.tags:
        return float(low * (high / low) ** generator.random())
    if isinstance(low, int) and isinstance(high, int):
        return generator.randint(low, high)
    return generator.uniform(low, high)
