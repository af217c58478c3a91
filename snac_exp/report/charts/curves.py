"""Which curves a run has: losses per head, learning rates per group, speed, and whatever else it logged."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from snac_exp.metrics.table import metric_of, order_of
from snac_exp.report.charts.colours import tints
from snac_exp.report.charts.lines import Chart, ChartView, Line, Marks, chart_view
from snac_exp.report.charts.series import Metrics, Series

_FIRST_PARTS = ("", "head_48k", "head_24k")
_FIRST_TERMS = ("objective", "loss")
SPEED = "speed/audio_seconds_per_second"


@dataclass(frozen=True)
class Panel:
    """Charts that belong together."""

    title: str
    charts: list[ChartView]


def marks_of(plan: Mapping[str, Any], metrics: Metrics) -> Marks:
    """Where phases and curriculum stages of a plan begin, as steps, as far as the run has come."""
    phases: list[tuple[float, str]] = []
    stages: list[float] = []
    begins, before, reached = 0, None, max(metrics.last_steps.values(), default=0)
    for epoch in plan.get("epochs", []):
        # Plans of earlier versions have no steps; there an epoch begins where the one before was seen to end.
        begins = begins if epoch.get("first_step") is None else epoch["first_step"]
        if begins > reached:
            break
        # A phase that begins hides the stage that begins with it: one mark is enough.
        if not phases or phases[-1][1] != epoch["phase"]:
            phases.append((begins, epoch["phase"]))
        elif before is not None and before != epoch["stage"]:
            stages.append(begins)
        before = epoch["stage"]
        # Beyond what the run has reached no step is known.
        if epoch.get("first_step") is None:
            if epoch["epoch"] not in metrics.last_steps:
                break
            begins = metrics.last_steps[epoch["epoch"]]
    return Marks(tuple(phases) if len(phases) > 1 else (), tuple(stages))


def _steps(metrics: Metrics) -> tuple[float, float]:
    """The x axis of all charts of a run."""
    return 0.0, float(max(metrics.last_steps.values(), default=1))


def loss_panels(metrics: Metrics, marks: Marks) -> list[Panel]:
    """Training and validation of every term in one chart, a panel per head (or part), the whole objective first."""
    train, validation = metrics.named("train/"), metrics.named("val/")
    panels: dict[str, list[ChartView]] = {}
    for name in sorted({*train, *validation}, key=place_of):
        part = name.rpartition("/")[0]
        chart = _loss_chart(name, train.get(name), validation.get(name), marks, _steps(metrics))
        view = chart_view(chart)
        # Counted under Checks; as a curve it would be a row of ones.
        if view is not None and name != "skipped_outlier":
            panels.setdefault(part, []).append(view)
    return [Panel(part or "Overall", charts) for part, charts in panels.items()]


def place_of(name: str) -> tuple[int, str, int, tuple[int, str]]:
    """Sorting key of a metric `part/term`: the whole before the heads, the objective before its terms."""
    part, _, term = name.rpartition("/")
    first = _FIRST_PARTS.index(part) if part in _FIRST_PARTS else len(_FIRST_PARTS)
    return first, part, _FIRST_TERMS.index(term) if term in _FIRST_TERMS else len(_FIRST_TERMS), order_of(name)


def _loss_chart(
    name: str, train: Series | None, validation: Series | None, marks: Marks, steps: tuple[float, float]
) -> Chart:
    metric = metric_of(name)
    colour = {"head_48k": "c1", "head_24k": "c2"}.get(name.rpartition("/")[0], "c4")
    # Training batches are noisy, so they stand back where there is a validation.
    style = "line" if validation is None else "faint"
    lines = [Line("training", train, colour, style, noisy=True)] if train is not None else []
    lines += [Line("validation", validation, colour, "dots")] if validation is not None else []
    return Chart(metric.title, metric.unit, tuple(lines), marks=marks, x_range=steps)


def rate_chart(metrics: Metrics, marks: Marks) -> ChartView | None:
    """Learning rate of every group, on one logarithmic axis so that their ratio shows."""
    rates = metrics.named("lr/")
    colours = tints(rates)
    lines = [Line(name, series, colours[name], dash=index % 4) for index, (name, series) in enumerate(rates.items())]
    chart = Chart("Learning rate", "logarithmic axis", tuple(lines), log=True, marks=marks, broken=True)
    return chart_view(replace(chart, x_range=_steps(metrics)))


def speed_charts(metrics: Metrics) -> list[ChartView]:
    """Throughput, and every other metric of speed and memory that is no part of the step."""
    charts = []
    for name, series in metrics.named("speed/").items():
        if f"speed/{name}" == SPEED:
            charts.append(Chart("Throughput", "s of audio per s", (Line("training", series, "c3", noisy=True),)))
        elif not name.endswith(("_seconds", "_share")):
            title, unit = _titled(name)
            charts.append(Chart(title, unit, (Line("training", series, "c3"),)))
    # The same axis for all charts of a run, so that what happens together lies together.
    views = (chart_view(replace(chart, x_range=_steps(metrics))) for chart in charts)
    return [view for view in views if view is not None]


def _titled(name: str) -> tuple[str, str]:
    """A name without its unit, and the unit: memory_gib -> memory, GiB."""
    words, _, last = name.rpartition("_")
    units = {"gb": "GB", "gib": "GiB", "mb": "MB", "mib": "MiB", "bytes": "bytes"}
    return (words.replace("_", " "), units[last]) if last in units else (name.replace("_", " "), "")


def other_panels(metrics: Metrics, marks: Marks) -> list[Panel]:
    """Sections that this page has no other place for, like data/ and codebook/."""
    known = ("train/", "val/", "lr/", "speed/")
    panels: dict[str, list[ChartView]] = {}
    for key, series in metrics.series.items():
        if not key.startswith(known):
            section, _, title = key.partition("/")
            lines = (Line(section, series, "c6"),)
            name = (title or section).replace("_", " ")
            view = chart_view(Chart(name, "", lines, marks=marks, x_range=_steps(metrics)))
            if view is not None:
                panels.setdefault(section, []).append(view)
    return [Panel(section, charts) for section, charts in panels.items()]
