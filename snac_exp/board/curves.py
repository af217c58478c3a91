"""Curves of chosen runs over each other, laid out and thinned out here: the page draws strokes and knows no values."""

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snac_exp.board.entry import Entry
from snac_exp.board.growing import GrowingMetrics
from snac_exp.board.inside import Inside
from snac_exp.errors import ConfigError
from snac_exp.metrics.table import metric_of
from snac_exp.report.charts.lines import Chart, ChartView, Curve, Line, chart_view
from snac_exp.report.charts.series import Series

MOST_RUNS = 24  # at once: seven colours, each with up to four kinds of stroke
_NUM_COLOURS = 7
_KEPT = 64  # runs whose values stay in memory, so that a further look reads only what was added


class _Columns:
    """The values of one run by metric, which grow as its file does."""

    def __init__(self, inside: Inside, path: Path) -> None:
        self._metrics = GrowingMetrics(inside, path)
        self._columns: dict[str, tuple[list[int], list[float]]] = {}

    def series(self, name: str) -> Series | None:
        """One metric; None where the run has not logged it.

        Raises:
            ConfigError: a line is damaged.
        """
        while self._metrics.changed() and self._grow():
            pass
        found = self._columns.get(name)
        return None if found is None else Series(np.array(found[0], float), np.array(found[1], float))

    def _grow(self) -> bool:
        piece = self._metrics.read()
        if piece.is_new:
            self._columns = {}
        for line in piece.lines:
            for name, value in line.items():
                if "/" in name:
                    steps, values = self._columns.setdefault(name, ([], []))
                    steps.append(line["step"])
                    values.append(math.nan if value is None else value)
        return not piece.is_last


class Curves:
    """Charts of runs that are chosen, for any number of askers at a time."""

    def __init__(self, inside: Inside) -> None:
        self._inside, self._lock = inside, threading.Lock()
        self._columns: OrderedDict[Path, _Columns] = OrderedDict()

    def charts(self, entries: Sequence[Entry], metrics: Sequence[str], *, log: bool) -> dict[str, Any]:
        """A chart per metric, as JSON takes it. log: of the y axes. problems: by run, where one cannot be read."""
        problems: dict[str, str] = {}
        with self._lock:  # of lists that grow while they are read
            charts = [self._chart(entries, name, problems, log=log) for name in metrics]
        return {"charts": charts, "problems": problems}

    def _chart(self, entries: Sequence[Entry], name: str, problems: dict[str, str], *, log: bool) -> Mapping[str, Any]:
        found = [(place, self._series(entry, name, problems)) for place, entry in enumerate(entries)]
        noisy, style = not name.startswith("val/"), "dots" if name.startswith("val/") else "line"
        lines = [
            Line(str(place + 1), series, colour_of(place), style, dash_of(place), noisy)
            for place, series in found
            if series is not None
        ]
        view = chart_view(Chart(name, metric_of(name).unit, tuple(lines), log=log, last_only=True))
        shown = [place for place, series in found if series is not None and len(series.finite)]
        return {"metric": name, "arrow": metric_of(name).arrow} | ({} if view is None else _as_json(view, shown))

    def _series(self, entry: Entry, name: str, problems: dict[str, str]) -> Series | None:
        path = entry.folder.metrics
        columns = self._columns.pop(path, None) or _Columns(self._inside, path)
        self._columns[path] = columns  # the last one used stands last
        if len(self._columns) > _KEPT:
            self._columns.popitem(last=False)
        try:
            return columns.series(name)
        except ConfigError as error:
            problems[entry.id] = str(error)
            return None


def colour_of(place: int) -> str:
    """A class of the style sheet."""
    return f"c{1 + place % _NUM_COLOURS}"


def dash_of(place: int) -> int:
    """How runs of one colour are told apart."""
    return place // _NUM_COLOURS


def _as_json(view: ChartView, places: Sequence[int]) -> dict[str, Any]:
    return {
        "title": view.chart.title,
        "unit": view.chart.unit,
        "log": view.chart.log,
        "width": view.y_width,
        "x": [(tick.place, tick.label) for tick in view.x_ticks],
        "y": [(tick.place, tick.label) for tick in view.y_ticks],
        "curves": [_curve(curve, place) for curve, place in zip(view.curves, places, strict=True)],
        "points": view.points,
        "notes": view.notes,
        "description": view.description,
    }


def _curve(curve: Curve, place: int) -> dict[str, Any]:
    stroke = curve.stroke
    return {
        "run": place,
        "tint": curve.line.tint,
        "dash": curve.line.dash,
        "style": curve.line.style,
        "last": curve.last,
        "paths": {"band": stroke.band, "curve": stroke.path, "dots": stroke.dots, "lost": stroke.lost},
    }
