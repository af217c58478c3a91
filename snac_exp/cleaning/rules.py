"""Which runs are worth keeping: the best, the last, those with a tag, the young, and of sweeps the winners."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from snac_exp.cleaning.survey import Candidate, Survey
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.metrics.sides import goal_of
from snac_exp.metrics.table import metric_of
from snac_exp.sweeps.job_state import best_of
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.tracking.labels.shown import labels_of
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import DONE

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Rules:
    """best, last: so many runs of each recipe. tagged: runs with any tag, or with one of these. younger_seconds: runs
    of which something was written since. winners: so many jobs of each sweep. metric: what runs of recipes are ranked
    by, at validations; sweeps have their own."""

    best: int
    last: int
    tagged: bool | list[str]
    younger_seconds: float
    winners: int
    metric: str

    def __post_init__(self) -> None:
        for key in ("best", "last", "winners"):
            if getattr(self, key) < 0:
                raise ConfigError(f"keep_{key}={getattr(self, key)} must be 0 or more")
        if self.tagged == []:
            raise ConfigError("keep_tagged=[] names no tag; true keeps runs with any, false keeps none for their tags")

    @property
    def settings(self) -> SweepSettings:
        """How the metric ranks.

        Raises:
            ConfigError: nobody knows which side of it is better.
        """
        better = metric_of(self.metric).better
        if better not in ("lower", "higher"):
            raise ConfigError(
                f"metric={self.metric} does not rank runs; choose one of which low or high values are better"
            )
        return SweepSettings(metric=self.metric, goal="minimize" if goal_of(better) == "minimize" else "maximize")


def seconds_of(duration: str) -> float:
    """`12h`, `7d`, `2w`, `30m`, `0` in seconds.

    Raises:
        ConfigError: it is no duration.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", duration.strip())
    if found is None or (not found[2] and float(found[1])):
        raise ConfigError(f"keep_younger={duration} is no duration; write it as 30m, 12h, 7d or 2w, or 0 for none")
    return float(found[1]) * _SECONDS.get(found[2], 1)


def keep(found: Survey, rules: Rules) -> None:
    """Add to the candidates why the rules keep them.

    Raises:
        ConfigError: no run has a tag that is to be kept: misspelt, it would protect nothing.
    """
    _require_tags(found, rules.tagged)
    groups: dict[object, list[Candidate]] = {}
    for candidate in found.candidates:
        groups.setdefault((candidate.path.parent, candidate.is_sweep), []).append(candidate)
    for group in groups.values():
        name = group[0].path.parent.name
        newest = sorted(group, key=lambda item: item.path.name, reverse=True)[: rules.last]
        for item in newest:
            item.reasons.append(f"one of the last {rules.last} of {name}")
        if not group[0].is_sweep:
            _keep_best(group, rules.settings, rules.best, f"of {name}")
    for candidate in found.candidates:
        if candidate.sweep is not None:
            _keep_best(candidate.jobs, candidate.sweep.settings, rules.winners, "of its sweep")
        for item in candidate.jobs if candidate.is_sweep else [candidate]:
            _keep_young(item, rules.younger_seconds)
            _keep_tagged(item, rules.tagged)


def _keep_best(group: Sequence[Candidate], settings: SweepSettings, number: int, of: str) -> None:
    if number == 0:
        return
    ranked: list[tuple[float, Candidate]] = []
    for item in group:
        try:
            value = best_of(item.path, settings)
        except ConfigError as error:
            item.reasons.append(str(error))
            continue
        if value is not None:
            ranked.append((settings.sign * value, item))
        elif item.state in DONE:
            item.reasons.append(f"it has no {settings.metric}, so nobody knows how good it is")
    ranked.sort(key=lambda pair: (pair[0], pair[1].path.name))
    for place, (value, item) in enumerate(ranked[:number], start=1):
        item.reasons.append(f"best {place} {of} by {settings.metric} ({settings.sign * value:.4g})")


def _keep_young(item: Candidate, seconds: float) -> None:
    # A clock that was ahead makes a run young for longer, never older.
    if seconds > 0 and time.time() - item.usage.newest < seconds:
        item.reasons.append("it is younger than keep_younger")


def _require_tags(found: Survey, tagged: bool | list[str]) -> None:
    runs = [run for item in found.candidates for run in (item.jobs if item.is_sweep else [item])]
    known: set[str] = set()
    for run in runs:
        with suppress(ConfigError):  # `_keep_tagged` keeps a run whose tags cannot be read
            known |= {*labels_of(RunFolder(run.path)).tags}
    for tag in [] if isinstance(tagged, bool) else tagged:
        if tag not in known:
            raise ConfigError(f"keep_tagged: no run has the tag '{tag}'{nearest(tag, known)}")


def _keep_tagged(item: Candidate, tagged: bool | list[str]) -> None:
    if tagged is False:
        return
    try:
        tags = labels_of(RunFolder(item.path)).tags
    except ConfigError as error:
        item.reasons.append(str(error))
        return
    counted = [tag for tag in tags if tagged is True or tag in tagged]
    if counted:
        item.reasons.append(f"tagged {' '.join(counted)}")
