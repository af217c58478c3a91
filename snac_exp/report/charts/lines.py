"""Line charts: where on a plot everything lies. The template draws them and the browser stretches them.

Text is HTML beside the SVG, so it keeps its size at any width; strokes do not scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snac_exp.report.charts.series import Drawn, Series, downsampled
from snac_exp.report.charts.strokes import Scale, Stroke, stroke
from snac_exp.report.numbers import compact, figure, nice_ticks, tick_labels

_DECADES = 4  # of a logarithmic axis, from the highest value down
_LONG_TAIL = 3.0  # a range this many times the usual one is cut


@dataclass(frozen=True)
class Line:
    """A curve. tint: its colour, a class of page.css; dash: how it is told apart without colour, 0 to 3.

    style: `line`, `dots` for few measurements joined by a line, `faint` for one behind others. noisy: a few values far
    out may leave the axis.
    """

    name: str
    series: Series
    tint: str = "c1"
    style: str = "line"
    dash: int = 0
    noisy: bool = False


@dataclass(frozen=True)
class Marks:
    """What is said of the x axis. phases: (first step, name); stages: steps at which a curriculum stage begins."""

    phases: tuple[tuple[float, str], ...] = ()
    stages: tuple[float, ...] = ()


@dataclass(frozen=True)
class Chart:
    """What to draw. `unit` stands beside the title; `log` is of the y axis, and shows the top four decades.

    x_range: what the x axis shows at least, so that charts of one run lie under each other. broken: lines are
    interrupted where a phase begins. last_only: the legend gives last values, not first and last.
    """

    title: str
    unit: str
    lines: tuple[Line, ...]
    log: bool = False
    marks: Marks = Marks()
    x_label: str = "step"
    x_range: tuple[float, float] | None = None
    broken: bool = False
    last_only: bool = False


@dataclass(frozen=True)
class Tick:
    """A label at a percentage of its axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Curve:
    """A line with its paths and with its first, last and lowest value in words."""

    line: Line
    stroke: Stroke
    first: str
    last: str
    lowest: str


@dataclass(frozen=True)
class ChartView:
    """Everything the template needs of a chart; `points` is what the reading cursor shows, per line x and y."""

    chart: Chart
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[Curve]
    phases: list[Tick]
    stages: list[float]
    notes: list[str]
    points: dict[str, Any] = field(default_factory=dict)

    @property
    def y_width(self) -> int:
        """Characters of the longest label of the y axis."""
        return max(5, *(len(tick.label) for tick in self.y_ticks))

    @property
    def first_phase_fits(self) -> bool:
        """Whether the first phase is long enough for its name."""
        return len(self.phases) > 1 and self.phases[1].place > 20

    @property
    def description(self) -> str:
        """The chart in words."""
        lines = "; ".join(
            f"{item.line.name} from {item.first} to {item.last}, lowest {item.lowest}" for item in self.curves
        )
        axis = ", logarithmic axis" if self.chart.log else ""
        return f"{self.chart.title} ({self.chart.unit}{axis}) over {self.chart.x_label}: {lines}"


def chart_view(chart: Chart) -> ChartView | None:
    """Lay a chart out; None if it has no value to show."""
    lines = [line for line in chart.lines if len(line.series.finite)]
    drawn = [downsampled(line.series) for line in lines]
    y = None if not lines else _log_scale(drawn) if chart.log else _linear_scale(lines)
    if y is None:
        return None
    x = _x_scale(lines, chart.x_range)
    return ChartView(
        chart=chart,
        # Labels of large steps are wider, so fewer fit.
        x_ticks=_ticks(x, nice_ticks(x.low, x.high, 5 if x.high < 10_000 else 4)),
        y_ticks=_log_ticks(y) if chart.log else _ticks(y, nice_ticks(y.low, y.high, 5)),
        curves=[_curve(chart, line, item, x, y) for line, item in zip(lines, drawn, strict=True)],
        phases=[Tick(x.percent(step), name) for step, name in chart.marks.phases if x.low <= step < x.high],
        stages=[x.percent(step) for step in chart.marks.stages if x.low < step < x.high],
        notes=[note for line, item in zip(lines, drawn, strict=True) for note in _notes(line, item, y)],
        points=_points(drawn, x, y),
    )


def _x_scale(lines: Sequence[Line], shown: tuple[float, float] | None) -> Scale:
    ends = [end for line in lines for end in (float(line.series.steps.min()), float(line.series.steps.max()))]
    low, high = min([*ends, *(shown or ())]), max([*ends, *(shown or ())])
    # A single step has no range; half a step on either side puts it in the middle.
    return Scale(low, high) if high > low else Scale(low - 0.5, low + 0.5)


def _linear_scale(lines: Sequence[Line]) -> Scale:
    """From the lowest to the highest value; what leaves the axis of a noisy line is said in a note."""
    kept = [line.series.finite.values for line in lines if not line.noisy]
    noisy = [line.series.finite.values for line in lines if line.noisy]
    every = np.concatenate(kept + noisy)
    low, high = float(every.min()), float(every.max())
    # A few outliers of single batches would press all the rest onto the axis.
    usual_low, usual_high = (float(part) for part in np.quantile(every, (0.01, 0.99)))
    if noisy and high - low > _LONG_TAIL * max(usual_high - usual_low, 1e-12):
        low = min([usual_low, *(float(part.min()) for part in kept)])
        high = max([usual_high, *(float(part.max()) for part in kept)])
    margin = 0.06 * (high - low) or max(abs(high) * 0.05, 1e-6)
    # An axis that would end a little below 0 ends at 0: most values cannot be negative.
    return Scale(0.0 if low >= 0 > low - margin else low - margin, high + margin)


def _log_scale(drawn: Sequence[Drawn]) -> Scale | None:
    values = np.concatenate([item.mean for item in drawn])
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return None
    high = float(positive.max())
    return Scale(max(float(positive.min()), high / 10**_DECADES) / 1.5, high * 1.5, log=True)


def _ticks(scale: Scale, values: list[float]) -> list[Tick]:
    return [Tick(scale.percent(value), text) for value, text in zip(values, tick_labels(values), strict=True)]


def _log_ticks(scale: Scale) -> list[Tick]:
    powers = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    # Over few decades powers of ten alone would be too few.
    factors = (1,) if scale.high / scale.low > 50 else (1, 2, 5)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [Tick(scale.percent(value), compact(value)) for value in values if scale.low <= value <= scale.high]


def _curve(chart: Chart, line: Line, drawn: Drawn, x: Scale, y: Scale) -> Curve:
    values, spoken = line.series.finite.values, compact if chart.log else figure
    first, last, lowest = (spoken(float(value)) for value in (values[0], values[-1], values.min()))
    breaks = [step for step, _ in chart.marks.phases] if chart.broken else []
    return Curve(line, stroke(drawn, x, y, dots=line.style == "dots", breaks=breaks), first, last, lowest)


def _notes(line: Line, drawn: Drawn, y: Scale) -> list[str]:
    """What the picture leaves out, in words."""
    num_all, finite = len(line.series), line.series.finite.values
    num_lost, above, below = num_all - len(finite), int((finite > y.high).sum()), int((finite < y.low).sum())
    notes = []
    if drawn.num_merged > 1:
        notes.append(
            f"{num_all:,} values drawn as {len(drawn.x)} points: means of {drawn.num_merged}, with the range from "
            "lowest to highest"
        )
    if num_lost:
        notes.append(f"{num_lost:,} of {num_all:,} values not finite, marked on the axis")
    if above:
        notes.append(f"{above:,} above the axis, up to {figure(float(finite.max()))}")
    if below:
        notes.append(f"{below:,} below the axis, down to {figure(float(finite.min()))}")
    return [f"{line.name}: {note}" for note in notes]


def _points(drawn: Sequence[Drawn], x: Scale, y: Scale) -> dict[str, Any]:
    """Plain values for the reading cursor."""
    lines = [{"x": [_short(at) for at in item.x], "y": [_short(at) for at in item.mean]} for item in drawn]
    return {"x": [x.low, x.high], "y": [y.low, y.high], "log": y.log, "lines": lines}


def _short(value: float) -> float | None:
    # Five digits, and null for NaN, which JSON does not have.
    return float(f"{value:.5g}") if math.isfinite(value) else None
