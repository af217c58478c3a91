"""Parallel coordinates: a line per run through what the runs differ in, to what came of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from snac_exp.metrics.sides import cost, side_of
from snac_exp.report.charts.lines import Tick
from snac_exp.report.compare.comparison import Comparison
from snac_exp.report.numbers import figure

MOST_AXES = 7  # more do not fit beside each other
MOST_COLOURS = 7  # of the palette
_LOG_RATIO = 4.0  # from this ratio of its ends on, a positive axis is logarithmic


@dataclass(frozen=True)
class Axis:
    """An upright axis. place: 0 to 100 from the left. ticks: its values, 0 = bottom."""

    name: str
    key: str
    place: float
    ticks: list[Tick]
    is_log: bool


@dataclass(frozen=True)
class RunLine:
    """A run as a path on 1000 x 1000. tint: its own colour, or with many runs q0 (best) to q4. end: its height."""

    number: int
    label: str
    tint: str
    is_best: bool
    path: str
    end: float | None


@dataclass(frozen=True)
class Parallel:
    """The picture, and how many keys differ too but have no axis, and how many runs lack the metric."""

    axes: list[Axis]
    run_lines: list[RunLine]
    num_keys_left_out: int
    num_runs_left_out: int


def parallel(comparison: Comparison) -> Parallel | None:
    """The picture of a comparison; None with fewer than three measured runs, or if nothing differs."""
    measured = [entry for entry in comparison.entries if entry.value is not None]
    keys = comparison.differences[:MOST_AXES]
    if len(measured) < 3 or not keys:
        return None
    # By place: entries compare by identity, and the picture leaves some out.
    rows = {id(entry): index for index, entry in enumerate(comparison.entries)}
    texts = [[item.values[rows[id(entry)]] for entry in measured] for item in keys]
    places = [_inset(_places(column)) for column in texts]
    spread = [_spread(column) for column in places]
    values = [float(entry.value) for entry in measured if entry.value is not None]
    outcome = _inset(_outcome(values, comparison.goal))
    step = 100.0 / len(keys)
    names = short_names([item.key for item in keys])
    axes = [
        Axis(names[item.key], item.key, index * step, _marks(column, heights), _is_log(column))
        for index, (item, column, heights) in enumerate(zip(keys, texts, places, strict=True))
    ]
    axes.append(Axis(comparison.metric, comparison.metric, 100.0, _ends(values, outcome), False))
    labelled = _apart(outcome)
    run_lines = [
        RunLine(
            rows[id(entry)] + 1,
            entry.label,
            f"c{rows[id(entry)] + 1}"
            if len(comparison.entries) <= MOST_COLOURS
            else f"q{min(4, 5 * rank // len(measured))}",
            entry is comparison.best,
            _path([*(heights[rank] for heights in spread), outcome[rank]]),
            labelled.get(rank),
        )
        for rank, entry in enumerate(measured)
    ]
    return Parallel(axes, run_lines, len(comparison.differences) - len(keys), len(comparison.entries) - len(measured))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The shortest ends of dotted keys that tell them apart: `lr.phases.main.groups.trunk` -> `trunk`.

    `name` alone would say nothing: `init.name` stays.
    """
    names = {}
    for key in keys:
        parts = key.split(".")
        for length in range(1 + (parts[-1] == "name" and len(parts) > 1), len(parts) + 1):
            name = ".".join(parts[-length:])
            if sum(other == name or other.endswith(f".{name}") for other in keys) == 1:
                break
        names[key] = name
    return names


def _numbers(texts: Sequence[str]) -> list[float] | None:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    # The texts nan and inf are numbers in Python, and have no place on an axis.
    return numbers if all(math.isfinite(number) for number in numbers) else None


def _is_log(texts: Sequence[str]) -> bool:
    numbers = _numbers(texts)
    return numbers is not None and min(numbers) > 0 and max(numbers) / min(numbers) >= _LOG_RATIO


def _places(texts: Sequence[str]) -> list[float]:
    """Heights from 0 to 100: numbers to scale, words evenly in the order in which they come."""
    numbers = _numbers(texts)
    if numbers is None:
        # In the order in which they come: words have none of their own.
        words = list(dict.fromkeys(texts))
        return [100.0 * words.index(text) / max(len(words) - 1, 1) for text in texts]
    scaled = np.log(numbers) if _is_log(texts) else np.array(numbers)
    low, high = float(scaled.min()), float(scaled.max())
    return [50.0 if high == low else float(100 * (value - low) / (high - low)) for value in scaled]


def _outcome(values: Sequence[float], goal: str) -> list[float]:
    """Heights on the last axis, the best at the top."""
    costs = [cost(value, side_of(goal)) for value in values]
    low, high = min(costs), max(costs)
    return [50.0 if high == low else 100 * (high - value) / (high - low) for value in costs]


def _inset(heights: Sequence[float]) -> list[float]:
    """Away from both ends of the axis."""
    return [5 + 0.9 * height for height in heights]


def _spread(heights: Sequence[float]) -> list[float]:
    """Equal heights a little apart, or runs would hide each other."""
    moved = []
    for index, height in enumerate(heights):
        # Runs of one value stand side by side, at most 10 % of the axis wide.
        same = [place for place, other in enumerate(heights) if other == height]
        step = min(2.0, 10.0 / len(same))
        moved.append(height + step * ((len(same) - 1) / 2 - same.index(index)))
    return moved


def _apart(heights: Sequence[float]) -> dict[int, float]:
    """Heights of the runs whose number has room beside the last axis, the best first."""
    kept: dict[int, float] = {}
    for rank, height in enumerate(heights):
        # In percent of the axis: below this labels lie upon each other.
        if all(abs(height - other) >= 7 for other in kept.values()):
            kept[rank] = height
    return kept


def _marks(texts: Sequence[str], heights: Sequence[float]) -> list[Tick]:
    """The values of an axis, without those that would lie upon each other."""
    ticks: list[Tick] = []
    for height, text in sorted(dict(zip(heights, texts, strict=True)).items()):
        if not ticks or height - ticks[-1].place >= 7:
            ticks.append(Tick(height, text))
    return ticks


def _ends(values: Sequence[float], heights: Sequence[float]) -> list[Tick]:
    ends = {heights[0]: values[0], heights[-1]: values[-1]}
    return [Tick(height, figure(value)) for height, value in ends.items()]


def _path(heights: Sequence[float]) -> str:
    """A smooth line through equally spaced axes."""
    step = 1000.0 / (len(heights) - 1)
    points = [(index * step, 1000 - 10 * height) for index, height in enumerate(heights)]
    path = f"M{points[0][0]:.0f} {points[0][1]:.1f}"
    # Tangents are level at every axis, so lines meet it at a right angle.
    for (x0, y0), (x1, y1) in pairwise(points):
        path += f"C{x0 + step * 0.4:.0f} {y0:.1f} {x1 - step * 0.4:.0f} {y1:.1f} {x1:.0f} {y1:.1f}"
    return path
