"""What a search may vary: keys with intervals, whole numbers or choices, read from Hydra's sweep grammar."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from snac_exp.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 6  # significant digits of a drawn number: enough for a search, and short enough to be read


@dataclass(frozen=True)
class Dimension:
    """One key. `low` and `high` are within; `step` is of whole numbers; `choices` are texts of Hydra's grammar."""

    key: str
    kind: Literal["float", "int", "choice"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: int | None = None
    choices: list[str] | None = None

    @classmethod
    def of(cls, override: Override) -> "Dimension":
        """From KEY=interval(low, high), tag(log, interval(…)), int(interval(…)), range(…) or a list.

        Raises:
            ConfigError: another kind of sweep, or ends that make no interval.
        """
        key, value = override.get_key_element(), override.value()
        if isinstance(value, IntervalSweep):
            return cls._interval(key, value)
        if isinstance(value, RangeSweep):
            numbers = list(value.range())
            if not numbers or not all(isinstance(number, int) for number in numbers):
                raise ConfigError(f"{key}: range(…) is for whole numbers; choose interval(low, high) or a list")
            # Hydra's range may run downwards; Optuna's may not.
            step = abs(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
            return cls(key, "int", min(numbers), max(numbers), step=step)
        if isinstance(value, ChoiceSweep):
            choices = list(dict.fromkeys(override.sweep_string_iterator()))
            return cls(key, "choice", choices=choices)
        raise ConfigError(f"{key}: a search draws from a list, range(…) or interval(low, high)")

    @classmethod
    def _interval(cls, key: str, value: IntervalSweep) -> "Dimension":
        low, high = value.start, value.end
        # Whole ends make whole numbers, as in Hydra's own sweeper for Optuna.
        whole, log = isinstance(low, int) and isinstance(high, int), "log" in value.tags
        if low is None or high is None or not low < high or (log and low <= 0):
            above = " above 0" if log else ""
            raise ConfigError(f"{key}: interval(low, high) needs two ends{above}, the smaller one first")
        return cls(key, "int" if whole else "float", low, high, log, 1 if whole else None)

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna import distributions

        if self.kind == "choice":
            return distributions.CategoricalDistribution(self.choices or [])
        assert self.low is not None
        assert self.high is not None
        if self.kind == "int":
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log, step=self.step or 1)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)

    def override(self, value: Any) -> str:
        """KEY=VALUE as a job is given it."""
        return f"{self.key}={self._text(value)}"

    def value(self, text: str) -> Any:
        """What `override` wrote, read back."""
        return {"float": float, "int": int, "choice": str}[self.kind](text)

    def ends(self) -> list[str]:
        """Overrides that show whether all of it can be: every choice, or both ends."""
        return [self.override(value) for value in self.choices or (self.low, self.high)]

    def _text(self, value: Any) -> str:
        if self.kind != "float":
            return str(int(value) if self.kind == "int" else value)
        assert self.low is not None
        assert self.high is not None
        # Rounding may leave the interval by a hair, which Optuna would refuse when it reads the value back.
        short = float(f"{value:.{DIGITS}g}")
        return repr(min(max(short, self.low), self.high))


def corners(space: Sequence[Dimension]) -> list[list[str]]:
    """Jobs in which every choice and both ends of every interval occur once beside the first of all others."""
    # Not all combinations: their number doubles with every key, and each would build a codec and data.
    first = [dimension.ends()[0] for dimension in space]
    found = [first]
    for place, dimension in enumerate(space):
        found += [[*first[:place], end, *first[place + 1 :]] for end in dimension.ends()[1:]]
    return found


def size(space: Sequence[Dimension]) -> float:
    """How many different jobs there are; infinite with an interval of real numbers."""
    return math.prod(_size(dimension) for dimension in space)


def _size(dimension: Dimension) -> float:
    if dimension.kind == "choice":
        return len(dimension.choices or [])
    if dimension.kind == "float":
        return math.inf
    # Whole numbers, both ends among them.
    return ((dimension.high or 0) - (dimension.low or 0)) // (dimension.step or 1) + 1


def values_of(space: Sequence[Dimension], overrides: Sequence[str]) -> dict[str, Any]:
    """The drawn values by key, from the overrides of a job."""
    texts: Mapping[str, str] = dict(item.split("=", 1) for item in overrides)
    return {dimension.key: dimension.value(texts[dimension.key]) for dimension in space}
