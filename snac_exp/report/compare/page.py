"""A comparison as a page: table with intervals, parallel coordinates, curves, sound, configs, failures."""

import time
from dataclasses import dataclass

from snac_exp.metrics.sides import arrow_of, side_of, verdict_of
from snac_exp.metrics.table import metric_of
from snac_exp.report.charts.curves import Panel, place_of
from snac_exp.report.charts.intervals import Estimated, Whisker, Whiskers, whiskers
from snac_exp.report.charts.lines import Chart, ChartView, Line, chart_view
from snac_exp.report.charts.parallel import MOST_COLOURS, parallel, short_names
from snac_exp.report.compare.comparison import Comparison, Entry
from snac_exp.report.compare.sounds import Listening
from snac_exp.report.compare.text import delta_text, explanation, interval_text
from snac_exp.report.labels import written_notes
from snac_exp.report.numbers import figure, megabytes
from snac_exp.report.render import render


@dataclass(frozen=True)
class TableRow:
    """A run of the table; `forest` draws its difference."""

    number: int
    entry: Entry
    tint: str
    value: str
    interval: str
    delta: str
    side: str
    forest: Whisker | None
    metrics: list[tuple[str, float | None]]


def comparison_page(comparison: Comparison, listening: Listening) -> str:
    """The page. `listening` is made apart, since its keys go into a file of their own."""
    rows, ruler = _table(comparison)
    names = short_names([item.key for item in comparison.differences])
    grids = [grid for grid, _ in listening.grids]
    sections = {
        "results": "Results",
        "settings": "Settings",
        "curves": "Curves",
        "listen": "Listen",
        "config": "Config",
        "failures": "Not finished",
    }
    view = parallel(comparison)
    absent = {"settings": view is None, "failures": not comparison.failures}
    return render(
        "comparison.html.j2",
        {
            "comparison": comparison,
            "contents": [(key, title) for key, title in sections.items() if not absent.get(key)],
            "explanation": explanation(comparison),
            "written_notes": [
                (f"{entry.label}, {when}", text)
                for entry in comparison.entries
                for when, text in written_notes(entry.record.labels)
            ],
            "metric": metric_of(comparison.metric),
            "arrow": arrow_of(side_of(comparison.goal)),
            "part": comparison.metric.rpartition("/")[0],
            "headline": _headline(comparison),
            "rows": rows,
            "ruler": ruler,
            "columns": [(name.rpartition("/")[0], metric_of(name)) for name in comparison.columns],
            "parallel": view,
            "panels": _panels(comparison),
            "listening": listening,
            "short_names": names,
            "written": time.strftime("%Y-%m-%d %H:%M:%S"),
            "size": megabytes(sum(cell.sound.num_bytes for grid in grids for cell in grid.cells)),
        },
    )


def tint_of(comparison: Comparison, entry: Entry) -> str:
    """A colour per run while there are enough; beyond that for the best and the baseline only."""
    place = comparison.entries.index(entry)
    # Beyond the palette colours would repeat, so only two runs have one.
    if len(comparison.entries) <= MOST_COLOURS:
        return f"c{place + 1}"
    return "c1" if entry is comparison.best else "c2" if entry is comparison.baseline else "c0"


def _headline(comparison: Comparison) -> str:
    """What came of it, in a sentence."""
    best, base = comparison.best, comparison.baseline
    if best is None or best.value is None:
        return "No run has the metric yet."
    metric, part = metric_of(comparison.metric), comparison.metric.rpartition("/")[0]
    what = f"{metric.title} ({part})" if part else metric.title
    sentence = f"{best.label} is best: {what} {figure(best.value)} {metric.unit}".rstrip()
    # A fraction of 0 has no meaning, nor has one of the baseline to itself.
    if best is base or best.delta is None or not base.value:
        return f"{sentence}, the baseline itself." if best is base else f"{sentence}."
    fraction, side = abs(best.delta.mean / base.value), "under" if best.delta.mean < 0 else "over"
    sentence += f", {100 * fraction:.1f}\N{NO-BREAK SPACE}% {side} {base.label}"
    if best.delta.low95 is None:
        return f"{sentence}."
    return (
        f"{sentence}. The 95 % interval of that difference {'excludes' if best.delta.excludes_zero else 'holds'} zero."
    )


def _table(comparison: Comparison) -> tuple[list[TableRow], Whiskers | None]:
    compared = [entry for entry in comparison.entries if entry.delta is not None]
    ends: list[Estimated] = [
        (entry.label, tint_of(comparison, entry), entry.delta.mean, entry.delta.low95, entry.delta.high95)
        for entry in compared
        if entry.delta is not None
    ]
    ruler = whiskers("", ends, most_ticks=3) if ends else None
    # By identity: entries are compared by `is`, and two runs may have equal values.
    forests = dict(zip(map(id, compared), ruler.rows if ruler else [], strict=True))
    rows = []
    for number, entry in enumerate(comparison.entries, 1):
        metrics = [(figure(entry.metrics.get(name)), entry.metrics.get(name)) for name in comparison.columns]
        rows.append(
            TableRow(
                number,
                entry,
                tint_of(comparison, entry),
                figure(entry.value),
                interval_text(*(entry.interval or (None, None))),
                "baseline" if entry is comparison.baseline else delta_text(entry),
                _side(entry, comparison),
                forests.get(id(entry)),
                metrics,
            )
        )
    return rows, ruler


def _side(entry: Entry, comparison: Comparison) -> str:
    """better or worse, if the interval says so."""
    if entry.delta is None or not entry.delta.excludes_zero:
        return ""
    base = comparison.baseline.value or 0.0
    return verdict_of(base, base + entry.delta.mean, side_of(comparison.goal)) or ""


def _panels(comparison: Comparison) -> list[Panel]:
    """Validation curves of all runs in one chart per metric, a panel per head."""
    names = {name for entry in comparison.entries for name in entry.record.metrics.named("val/")}
    panels: dict[str, list[ChartView]] = {}
    for name in sorted(names, key=place_of):
        lines = _lines(comparison, f"val/{name}")
        metric = metric_of(name)
        view = chart_view(Chart(metric.title, metric.unit, tuple(lines), last_only=True))
        if view is not None:
            panels.setdefault(name.rpartition("/")[0] or "Overall", []).append(view)
    return [Panel(title, charts) for title, charts in panels.items()]


def _lines(comparison: Comparison, name: str) -> list[Line]:
    """A line per run; where there are many, the best and the baseline come first, which is on top."""
    many = len(comparison.entries) > MOST_COLOURS
    lines = []
    for place, entry in enumerate(comparison.entries):
        series = entry.record.metrics.series.get(name)
        if series is None:
            continue
        leads = entry is comparison.best or entry is comparison.baseline
        style = ("lead" if leads else "rest") if many else "dots"
        dash = place % 4 if not many else 0
        lines.append(Line(str(place + 1), series, tint_of(comparison, entry), style, dash))
    return sorted(lines, key=lambda line: line.style != "lead")
