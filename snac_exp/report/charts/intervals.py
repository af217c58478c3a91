"""Means with their intervals on one axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from snac_exp.report.charts.lines import Tick
from snac_exp.report.charts.strokes import Scale
from snac_exp.report.numbers import figure, nice_ticks, tick_labels

Estimated = tuple[str, str, float, float | None, float | None]
"""Name, tint, mean, low and high end of its interval (both None where there is none)."""


@dataclass(frozen=True)
class Whisker:
    """A row of the plot: places from 0 to 100, that of zero among them, and the numbers in words."""

    name: str
    tint: str
    place: float
    low: float | None
    high: float | None
    zero: float
    text: str


@dataclass(frozen=True)
class Whiskers:
    """All rows over one axis, which holds zero."""

    title: str
    rows: list[Whisker]
    ticks: list[Tick]


def whiskers(title: str, rows: Sequence[Estimated], most_ticks: int = 6) -> Whiskers:
    """Lay out means with intervals."""
    # Zero always is on the axis: whether an interval holds it is what one looks for.
    ends = [0.0, *(value for row in rows for value in row[2:] if value is not None)]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 1.0  # all values 0
    scale = Scale(low - (margin if low < 0 else 0.0), high + (margin if high > 0 or low == 0 else 0.0))
    ticks = nice_ticks(scale.low, scale.high, most_ticks)
    labels = zip(ticks, tick_labels(ticks), strict=True)
    return Whiskers(title, [_row(row, scale) for row in rows], [Tick(scale.percent(at), label) for at, label in labels])


def _row(row: Estimated, scale: Scale) -> Whisker:
    name, tint, value, low, high = row
    if low is None or high is None:
        return Whisker(name, tint, scale.percent(value), None, None, scale.percent(0.0), figure(value, 3))
    text = f"{figure(value, 3)} ({figure(low, 3)} to {figure(high, 3)})"
    return Whisker(name, tint, scale.percent(value), scale.percent(low), scale.percent(high), scale.percent(0.0), text)
