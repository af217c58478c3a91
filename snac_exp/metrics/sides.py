"""Which side of a metric is better: lower, higher, or the one closest to 0."""

from collections.abc import Iterable
from typing import Literal

Side = Literal["lower", "higher", "closest_to_0"]
Goal = Literal["minimize", "maximize", "closest_to_0"]

_SIDES: dict[str, Side] = {"minimize": "lower", "maximize": "higher", "closest_to_0": "closest_to_0"}
_GOALS: dict[Side, Goal] = {"lower": "minimize", "higher": "maximize", "closest_to_0": "closest_to_0"}
_ARROWS: dict[Side, str] = {"lower": "↓", "higher": "↑", "closest_to_0": "→ 0"}
_WORDS: dict[Side, str] = {"lower": "lower", "higher": "higher", "closest_to_0": "closest to 0"}


def side_of(goal: str) -> Side:
    """The better side of a goal: minimize, maximize or closest_to_0."""
    return _SIDES[goal]


def goal_of(side: Side) -> Goal:
    """The goal whose better side this is."""
    return _GOALS[side]


def arrow_of(side: Side) -> str:
    """The side as a sign behind a metric's name."""
    return _ARROWS[side]


def words_of(side: Side) -> str:
    """The side in a sentence: lower, higher, closest to 0."""
    return _WORDS[side]


def cost(value: float, side: Side) -> float:
    """What to sort by so that the best value comes first."""
    return abs(value) if side == "closest_to_0" else value if side == "lower" else -value


def best_of(values: Iterable[float], side: Side) -> float:
    """The best value; ValueError without any."""
    return min(values, key=lambda value: cost(value, side))


def verdict_of(before: float, after: float, side: Side) -> str | None:
    """`better` or `worse`; None where both are equally good, or lie on either side of 0 where 0 is best.

    An interval of after - before says nothing about how far both are from 0 if they lie on either side of it.
    """
    if side == "closest_to_0" and before * after < 0:
        return None
    gain = cost(before, side) - cost(after, side)
    return None if gain == 0 else "better" if gain > 0 else "worse"
