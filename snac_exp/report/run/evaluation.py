"""The evaluation of summary.json: tables of candidates that share a target, intervals, and the gain in a sentence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snac_exp.metrics.keys import by_candidate, flat_values
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.sides import best_of
from snac_exp.metrics.table import metric_of, order_of
from snac_exp.report.charts.colours import tint
from snac_exp.report.charts.intervals import Estimated, Whiskers, whiskers
from snac_exp.report.numbers import figure, minus

FIRST_METRIC = "lsd_high_db"
REFERENCE = "reference"  # the recordings themselves: what metrics that need no target are read against
_NAMES = {
    REFERENCE: ("recordings", "what values without a target are read against"),
    "baseline": ("baseline", "24 kHz output, interpolated"),
    "baseline_noise": ("baseline + noise", "the same with noise of the training set's mean spectrum above 12 kHz"),
    "validation": ("trained model", "on the validation windows"),
    "unigram": ("token frequencies", "a model that knows how often each token comes"),
}


@dataclass(frozen=True)
class Value:
    """A value of the table; `interval` as in 8.2 to 9.3."""

    text: str
    interval: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Candidate:
    """A row: who was measured."""

    key: str
    name: str
    about: str
    tint: str
    values: list[Value | None]


@dataclass(frozen=True)
class Table:
    """Candidates measured against the same target, so their values compare."""

    title: str
    columns: list[Metric]
    rows: list[Candidate]


@dataclass(frozen=True)
class Evaluation:
    """All of it. headline: who, by which fraction, and what of what, for every baseline that was measured."""

    tables: list[Table]
    whiskers: Whiskers | None
    headline: list[tuple[str, str, str]]
    about: str
    left_out: list[str]


def evaluation(summary: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation of a run; None if there is none."""
    metrics = flat_values(summary)
    measured = by_candidate(metrics)
    if not measured:
        return None
    # Metrics that exist at 48 kHz alone tell which candidates were measured at that rate.
    reference = {name: measured.pop(name) for name in (REFERENCE,) if name in measured}
    wide = {name: found for name, found in measured.items() if any(metric_of(it).rates == (48_000,) for it in found)}
    others = {name: found for name, found in measured.items() if name not in wide}
    titles = ("Against the 48 kHz target", "Against the 24 kHz target") if wide else ("", "")
    groups = [(title, group) for title, group in zip(titles, (wide, others), strict=True) if group]
    return Evaluation(
        tables=[_table(title, group | reference, metrics) for title, group in groups],
        whiskers=_whiskers(wide, metrics),
        headline=_headline(metrics),
        about=_about(metrics),
        left_out=_left_out(metrics),
    )


def name_of(candidate: str) -> tuple[str, str]:
    """A candidate's name and what it is."""
    first, _, rest = candidate.partition("/")
    if first == "initial":
        return f"{rest}, untrained", "before training"
    if first in _NAMES:
        name, about = _NAMES[first]
        return (f"{name}, {rest}" if rest else name), about
    return candidate, "trained"


def _table(title: str, group: Mapping[str, Mapping[str, float]], metrics: Mapping[str, float]) -> Table:
    names = sorted({metric for found in group.values() for metric in found}, key=_place)
    columns = [metric_of(name) for name in names]
    rows = []
    for candidate, found in group.items():
        name, about = name_of(candidate)
        values = [
            None if metric not in found else _value(f"{candidate}/{metric}", metric, group, metrics) for metric in names
        ]
        rows.append(Candidate(candidate, name, about, tint(candidate), values))
    return Table(title, columns, rows)


def _place(name: str) -> tuple[bool, tuple[int, str]]:
    """Sorting key: what the page is about first, then the order of the table of metrics."""
    return name != FIRST_METRIC, order_of(name)


def _value(key: str, metric: str, group: Mapping[str, Mapping[str, float]], metrics: Mapping[str, float]) -> Value:
    better = metric_of(metric).better
    every = [found[metric] for name, found in group.items() if metric in found and name != REFERENCE]
    # None for metrics without a better side: nothing is best there.
    best = None if better is None else best_of(every, better)
    low, high = metrics.get(f"{key}_low95"), metrics.get(f"{key}_high95")
    interval = "" if low is None or high is None else f"{_digits(low, metric)} to {_digits(high, metric)}"
    is_best = len(every) > 1 and metrics[key] == best and not key.startswith(f"{REFERENCE}/")
    return Value(_digits(metrics[key], metric), interval, is_best=is_best)


def _digits(value: float, metric: str) -> str:
    described = metric_of(metric)
    return figure(value, 3) if described.decimals is None else minus(described.text(value))


def _whiskers(wide: Mapping[str, Mapping[str, float]], metrics: Mapping[str, float]) -> Whiskers | None:
    """High-band distances with their intervals, the lowest first."""
    measured = sorted((found[FIRST_METRIC], name) for name, found in wide.items() if FIRST_METRIC in found)
    if len(measured) < 2:
        return None
    rows: list[Estimated] = []
    for value, name in measured:
        key = f"{name}/{FIRST_METRIC}"
        rows.append((name_of(name)[0], tint(name), value, metrics.get(f"{key}_low95"), metrics.get(f"{key}_high95")))
    return whiskers(metric_of(FIRST_METRIC).full_title, rows)


def _headline(metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """`head_48k`, `31 %`, `less distance above 12 kHz than interpolation`, for every baseline."""
    against = {"baseline": "plain interpolation", "baseline_noise": "interpolation plus average noise"}
    lines = []
    for key, fraction in metrics.items():
        found = re.fullmatch(r"(.+)/lsd_high_under_(baseline|baseline_noise)", key)
        if found is not None:
            side = "less" if fraction >= 0 else "more"
            percent = f"{100 * abs(fraction):.0f}\N{NO-BREAK SPACE}%"
            lines.append((found[1], percent, f"{side} distance above 12 kHz than {against[found[2]]}"))
    return lines


def _about(metrics: Mapping[str, float]) -> str:
    number, seconds = metrics.get("count/utterances"), metrics.get("seconds/audio")
    if number is None:
        return ""
    length = "" if seconds is None else f", {seconds:,.0f} s of audio"
    return f"{number:,.0f} whole validation utterance{'s' if number != 1 else ''}{length}"


def _left_out(metrics: Mapping[str, float]) -> list[str]:
    lines = []
    for key, number in metrics.items():
        if key.startswith("count/undefined_"):
            title = metric_of(key.removeprefix("count/undefined_")).title
            lines.append(f"{title} is undefined for {number:,.0f} of the utterances, which its means leave out")
    return lines
