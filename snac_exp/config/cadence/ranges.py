"""The ranges of curriculum stages and learning-rate phases, in epochs or in steps, and how they cover a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from snac_exp.config.schema import Curriculum, Lr
from snac_exp.errors import ConfigError

Unit = Literal["epochs", "steps"]


class Ranged(Protocol):
    """A curriculum stage or a learning-rate phase."""

    @property
    def epochs(self) -> tuple[int, int | None] | None: ...
    @property
    def steps(self) -> tuple[int, int | None] | None: ...


@dataclass(frozen=True)
class Range:
    """Epochs or steps [first, last] of a stage or phase, from 1 on; a last one of None: to the end of the run."""

    name: str
    first: int
    last: int | None


Ranges = tuple[Range, ...]


@dataclass(frozen=True)
class Timetable:
    """Stages and phases in the order in which they come, both in one unit. last: the last epoch or step of both; None:
    `trainer.max_steps` alone ends the run."""

    unit: Unit
    stages: Ranges
    phases: Ranges
    last: int | None


def timetable(curriculum: Curriculum, lr: Lr, max_steps: int | None) -> Timetable:
    """The ranges of a recipe.

    Raises:
        ConfigError: a range that is missing, leaves a gap, overlaps another one or ends before the run; ranges in two
            units; or a run without an end. Names the key and the mend.
    """
    stages = _ranges("curriculum", "stages", curriculum.unit, curriculum.stages)
    phases = _ranges("lr", "phases", lr.unit, lr.phases)
    unit = _common_unit(curriculum.unit, stages, lr.unit, phases, max_steps)
    ends = [ranges[-1].last for ranges in (stages, phases) if ranges[-1].last is not None]
    if not ends and (unit == "epochs" or max_steps is None):
        raise ConfigError(
            f"neither curriculum.stages nor lr.phases names a last {unit[:-1]}; give one range an end, like [2, 15], "
            "or set trainer.max_steps with curriculum.unit=steps or lr.unit=steps"
        )
    last = max(ends) if ends else None
    _check_cover("curriculum.stages", unit, stages, last)
    _check_cover("lr.phases", unit, phases, last)
    return Timetable(unit, stages, phases, last)


def range_at(ranges: Sequence[Range], number: int) -> Range:
    """The stage or phase of an epoch or a step, counted from 1."""
    return next(item for item in ranges if item.first <= number and (item.last is None or number <= item.last))


def _ranges(group: str, name: str, unit: Unit, entries: Mapping[str, Ranged]) -> Ranges:
    key = f"{group}.{name}"
    if not entries:
        raise ConfigError(f"{key} is empty; give it at least one entry with {unit}: [1, N]")
    found = []
    for entry, item in entries.items():
        given = item.steps if unit == "steps" else item.epochs
        if given is None:
            raise ConfigError(
                f"{key}.{entry} has no {unit}, and {group}.unit={unit} counts in them; give it {unit}: [first, last]"
            )
        first, last = given
        if last is not None and last < first:
            raise ConfigError(f"{key}.{entry}.{unit}={list(given)}: the first {unit[:-1]} comes after the last")
        found.append(Range(entry, first, last))
    return tuple(sorted(found, key=lambda item: item.first))


def _common_unit(stage_unit: Unit, stages: Ranges, phase_unit: Unit, phases: Ranges, max_steps: int | None) -> Unit:
    """The unit of both; a single range over the whole run is the same in either."""
    units: set[Unit] = set()
    units |= set() if _is_whole(stages) else {stage_unit}
    units |= set() if _is_whole(phases) else {phase_unit}
    if len(units) > 1:
        raise ConfigError(
            f"curriculum.unit={stage_unit} and lr.unit={phase_unit}: stages and phases must be in one unit, unless one "
            "of them is a single range [1, null]"
        )
    return next(iter(units)) if units else "epochs" if max_steps is None else "steps"


def _is_whole(ranges: Ranges) -> bool:
    return len(ranges) == 1 and (ranges[0].first, ranges[0].last) == (1, None)


def _check_cover(key: str, unit: Unit, ranges: Ranges, last: int | None) -> None:
    """Ranges must tile 1..last without gap or overlap."""
    noun, expected, previous = unit[:-1], 1, ""
    for item in ranges:
        # An open end reaches as far as the other schedule does; without any end only a last one can be open.
        end = last if item.last is None else item.last
        where = f"{key}.{item.name}.{unit}=[{item.first}, {'null' if item.last is None else item.last}]"
        if end is not None and end < item.first:
            raise ConfigError(f"{where}: the first {noun} comes after the last, {end}")
        if item.first > expected:
            missing = f"{noun} {expected}" if item.first == expected + 1 else f"{unit} {expected} to {item.first - 1}"
            raise ConfigError(f"{where} leaves a gap: {missing} has no entry; start at {expected}")
        if item.first < expected:
            raise ConfigError(f"{where} overlaps {key}.{previous}; start at {expected}")
        if item.last is None and item is not ranges[-1]:
            raise ConfigError(f"{where} must end where the next one begins; give it a last {noun}")
        expected, previous = (item.first if end is None else end) + 1, item.name
    if last is not None and expected - 1 != last:
        raise ConfigError(
            f"{key} ends at {noun} {expected - 1} but the recipe has {last}; set {key}.{previous}.{unit}=[…, {last}]"
        )
