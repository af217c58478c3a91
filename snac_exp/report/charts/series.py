"""Metrics over steps: metrics.jsonl as columns, and what of a column is drawn."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snac_exp.system.checksums.json_digest import LINE_KEY, verified

Floats = NDArray[np.float64]

_HEADER = frozenset({"step", "epoch", "kind", "time"})
MOST_POINTS = 480
"""A line with more points than this is drawn as buckets: more than a screen shows, little enough for a small file."""


@dataclass(frozen=True, eq=False)
class Series:
    """One metric over the run: (N,) steps and (N,) values, NaN where the value was not finite."""

    steps: Floats
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def finite(self) -> "Series":
        """Without the values that are not finite."""
        keep = np.isfinite(self.values)
        return Series(self.steps[keep], self.values[keep])


@dataclass(frozen=True, eq=False)
class Metrics:
    """metrics.jsonl of a run.

    series: by name. last_steps: last step seen in each epoch. seconds: from the first to the last line. num_broken:
    lines that are damaged.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    last_steps: Mapping[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    num_lines: int = 0
    num_broken: int = 0

    def named(self, prefix: str) -> dict[str, Series]:
        """The metrics of a section, by the rest of their names."""
        return {name.removeprefix(prefix): item for name, item in self.series.items() if name.startswith(prefix)}


def read_series(path: Path) -> Metrics:
    """Columns of a metrics.jsonl; none where there is no file. A last line that is being written is left out.

    A null (a value that was not finite) becomes NaN; a damaged line is counted, not hidden.
    """
    columns: dict[str, tuple[list[float], list[float]]] = {}
    last_steps: dict[int, int] = {}
    times: list[float] = []
    num_lines = num_broken = 0
    for line in _complete_lines(path):
        num_lines += 1
        values = _parsed(line)
        if values is None:
            num_broken += 1
            continue
        step, epoch = int(values["step"]), int(values["epoch"])
        last_steps[epoch] = max(step, last_steps.get(epoch, 0))
        times += [float(values["time"])] if "time" in values else []
        for name, value in values.items():
            # type, not isinstance: a bool is an int in Python, and no metric.
            if name not in _HEADER and (value is None or type(value) in (int, float)):
                steps, figures = columns.setdefault(name, ([], []))
                steps.append(step)
                figures.append(np.nan if value is None else float(value))
    series = {name: Series(np.array(steps, float), np.array(values)) for name, (steps, values) in columns.items()}
    seconds = times[-1] - times[0] if times else 0.0
    return Metrics(series, last_steps, seconds, num_lines, num_broken)


def _complete_lines(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    with open(path, "rb") as file:
        # Line by line: the file of a long run is larger than what is drawn of it.
        for line in file:
            if line.endswith(b"\n") and line.strip():
                yield line


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        values = verified(json.loads(line), LINE_KEY)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or type(values.get("step")) is not int or type(values.get("epoch")) is not int:
        return None
    return values if isinstance(values.get("time", 0), int | float) else None


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is drawn of a series: (P,) x, and of each point mean, low and high (all equal where nothing was merged).

    num_merged: how many values a point stands for at most; 1 = every value is drawn.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    num_merged: int


def downsampled(series: Series, most: int = MOST_POINTS) -> Drawn:
    """At most `most` points: runs of neighbouring values become their mean with their lowest and highest.

    Extremes survive whatever the number of values; a point is NaN only if all its values are.
    """
    count = -(-len(series) // most) if len(series) > most else 1
    if count == 1:
        return Drawn(series.steps, series.values, series.values, series.values, 1)
    starts = np.arange(0, len(series), count)
    finite = np.isfinite(series.values)
    numbers = np.add.reduceat(finite.astype(float), starts)
    empty = numbers == 0  # a bucket without a finite value
    mean = np.add.reduceat(np.where(finite, series.values, 0.0), starts) / np.maximum(numbers, 1)
    # Infinities never win, and buckets of them alone become NaN below.
    low = np.minimum.reduceat(np.where(finite, series.values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, series.values, -np.inf), starts)
    sizes = np.diff(np.append(starts, len(series)))
    x = np.add.reduceat(series.steps, starts) / sizes
    mean, low, high = (np.where(empty, np.nan, part) for part in (mean, low, high))
    return Drawn(x, mean, low, high, count)
