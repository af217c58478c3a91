"""Gains of the fine-tuned decoders over the codec before: paired by utterance, as JSON, Markdown and a picture."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator
from speech import Subset

from snac_exp.evaluation.estimates import Difference, differences
from snac_exp.evaluation.folder import Evaluation, Row
from snac_exp.evaluation.systems import REFERENCE
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.table import GROUPS, METRICS, missing_metrics
from snac_exp.system.files import atomic_path, write_signed_json, write_text

KINDS = {"best": "the best model by the held-out part", "final": "the model of the last step"}
_COLUMNS = 4  # of the picture
_DPI = 60  # pixels per inch


@dataclass(frozen=True)
class Measured:
    """A run: its subset, the step of its best model by the held-out part, and the rows of both models by kind."""

    minutes: float
    seed: int
    part: Subset
    best_step: int
    last_step: int
    rows: Mapping[str, list[Row]]
    run: str


@dataclass(frozen=True)
class Gain:
    """What so many minutes changed in one measure. spread: standard deviation over seeds; None of one seed."""

    minutes: float
    change: Difference
    spread: float | None

    @property
    def text(self) -> str:
        """Cell of a table: mean, interval over utterances, spread over seeds, verdict."""
        metric, change = self.change.metric, self.change.change
        parts = [metric.text(change.mean, signed=True)]
        if change.low95 is not None and change.high95 is not None:
            ends = (metric.text(end, signed=True) for end in (change.low95, change.high95))
            parts.append(f"({' to '.join(ends)})")
        parts += [] if self.spread is None else [f"± {metric.text(self.spread)}"]
        return " ".join([*parts, *([self.change.verdict] if self.change.verdict else [])])


Gains = Mapping[Metric, Sequence[Gain]]
"""Of every measure what each number of minutes changed, the least minutes first."""


def write_results(output: Path, before: Evaluation, found: Sequence[Measured], settings: Mapping[str, Any]) -> None:
    """Write results.json, results.md and results.png of what is measured so far."""
    gains = {kind: gains_of(before, found, kind) for kind in KINDS}
    picture(output / "results.png", gains)
    lines = ["# Gain by minutes of speech", "", *summary(before, found)]
    for kind, title in KINDS.items():
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", sentence(gains[kind]), "", *table(gains[kind])]
    lines += ["", "## Runs", "", *runs_table(found), "", "![gain over minutes](results.png)"]
    write_text(output / "results.md", "\n".join(lines) + "\n")
    write_signed_json(output / "results.json", to_json(before, found, gains, settings))


def gains_of(before: Evaluation, found: Sequence[Measured], kind: str) -> dict[Metric, list[Gain]]:
    """Differences of the fine-tuned models of a kind to the codec before, each utterance averaged over the seeds."""
    early = _own(before.rows)
    gains: dict[Metric, list[Gain]] = {}
    for minutes in sorted({item.minutes for item in found}):
        runs = [_own(item.rows[kind]) for item in found if item.minutes == minutes]
        for change in differences(early, averaged(runs), 0):
            if change.metric.better is not None:
                gain = Gain(minutes, change, _spread(runs, change.metric.name))
                gains.setdefault(change.metric, []).append(gain)
    return gains


def averaged(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """A row per utterance: the mean of every metric over the runs that define it in all of them."""
    by_sha1 = [{row["sha1"]: row for row in rows} for rows in runs]
    shared = set.intersection(*map(set, by_sha1))
    rows = []
    for sha1 in sorted(shared):
        same = [found[sha1] for found in by_sha1]
        values = {metric.name: [row.get(metric.name) for row in same] for metric in METRICS}
        means = {name: None if None in column else statistics.fmean(column) for name, column in values.items()}
        rows.append({"sha1": sha1, **means})
    return rows


def sentence(gains: Gains) -> str:
    """Which minutes were enough for what: the interval of the difference excludes zero on the good side."""
    groups: dict[tuple[float, ...], list[str]] = {}
    for metric, row in gains.items():
        groups.setdefault(with_verdict(row, "better"), []).append(metric.title)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[0]), item[0]))
    parts = [f"{_listed(f'{it:g}' for it in enough)} min for {_listed(names)}" for enough, names in ordered if enough]
    parts += [f"no number of minutes for {_listed(groups[()])}"] if () in groups else []
    worse = [f"{metric.title} ({_listed(f'{it:g}' for it in bad)} min)" for metric, row in gains.items()
             if (bad := with_verdict(row, "worse"))]  # fmt: skip
    return f"Enough were {'; '.join(parts)}. Worse than before: {_listed(worse) if worse else 'nothing'}."


def with_verdict(row: Sequence[Gain], verdict: str) -> tuple[float, ...]:
    """The minutes with which a measure became `better` or `worse`."""
    return tuple(gain.minutes for gain in row if gain.change.verdict == verdict)


def summary(before: Evaluation, found: Sequence[Measured]) -> list[str]:
    """What was measured on whom, and what could not be measured here."""
    rows = _own(before.rows)
    speakers, seeds = len({row["speaker"] for row in rows}), len({item.seed for item in found})
    lines = [
        f"{len(rows)} utterances of {speakers} unheard speakers, {seeds} seeds; differences to {before.name} are "
        "paired by utterance and averaged over seeds, in brackets 95 % intervals over utterances (those of one speaker "
        "are alike: with few speakers the true intervals are wider), behind ± the standard deviation over seeds."
    ]
    return lines + [f"Not measured: {name}: {reason}." for name, reason in missing_metrics(GROUPS).items()]


def table(gains: Gains) -> list[str]:
    """Markdown: a row per measure, a column per number of minutes."""
    minutes = sorted({gain.minutes for row in gains.values() for gain in row})
    lines = [f"| measure | before | {' | '.join(f'{it:g} min' for it in minutes)} |", f"|{'---|' * (len(minutes) + 2)}"]
    for metric, row in gains.items():
        cells = {gain.minutes: gain.text for gain in row}
        texts = [metric.text(row[0].change.before), *(cells.get(it, "") for it in minutes)]
        lines.append(f"| {metric.full_title} {metric.arrow} | {' | '.join(texts)} |")
    return lines


def runs_table(found: Sequence[Measured]) -> list[str]:
    """Markdown: what every run trained on, and at which step the held-out part was best."""
    lines = ["| minutes | seed | utterances | speakers | best step |", "|---|---|---|---|---|"]
    for item in sorted(found, key=lambda it: (it.minutes, it.seed)):
        best = f"{item.best_step} of {item.last_step}"
        lines.append(f"| {item.part.minutes:.2f} | {item.seed} | {item.part.limit} | {item.part.speakers} | {best} |")
    return lines


def to_json(
    before: Evaluation, found: Sequence[Measured], gains: Mapping[str, Gains], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Contents of results.json."""
    return {
        "settings": dict(settings),
        "utterances": len(_own(before.rows)),
        "runs": [{name: value for name, value in asdict(item).items() if name != "rows"} for item in found],
        "gains": {kind: {metric.name: _json_of(row) for metric, row in rows.items()} for kind, rows in gains.items()},
        "sentences": {kind: sentence(rows) for kind, rows in gains.items()},
        "missing": missing_metrics(GROUPS),
    }


def picture(path: Path, gains: Mapping[str, Gains]) -> None:
    """A PNG: a panel per measure, the difference to the codec before over minutes, with intervals."""
    metrics = list(gains["best"])
    num_rows = -(-len(metrics) // _COLUMNS)
    figure = Figure(figsize=(3.5 * _COLUMNS, 2.4 * num_rows), dpi=_DPI, layout="constrained")
    # Not pyplot, which keeps every figure and may ask for a display.
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(num_rows, _COLUMNS, squeeze=False).flat)
    for axis, metric in zip(axes, metrics, strict=False):
        _draw(axis, metric, {kind: gains[kind].get(metric, []) for kind in KINDS})
    for axis in axes[len(metrics) :]:
        axis.set_axis_off()
    axes[0].legend(fontsize=8)
    figure.supxlabel("minutes of speech (difference to the codec before; the arrow says which way is better)")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw(axis: Axes, metric: Metric, rows: Mapping[str, Sequence[Gain]]) -> None:
    for kind, style, shift in (("best", "o-", 0.97), ("final", "s--", 1.03)):  # beside each other
        row = [gain for gain in rows[kind] if gain.change.change.low95 is not None]
        means = [gain.change.change.mean for gain in row]
        below = [mean - float(gain.change.change.low95 or 0) for mean, gain in zip(means, row, strict=True)]
        above = [float(gain.change.change.high95 or 0) - mean for mean, gain in zip(means, row, strict=True)]
        places = [gain.minutes * shift for gain in row]
        axis.errorbar(places, means, [below, above], fmt=style, capsize=3, markersize=4, linewidth=1, label=kind)
    axis.axhline(0, color="0.5", linewidth=0.8)
    axis.set_xscale("log")
    minutes = [gain.minutes for gain in rows["best"]]
    axis.set_xlim(min(minutes) / 1.5, max(minutes) * 1.5)
    axis.set_xticks(minutes, [f"{it:g}" for it in minutes])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_title(f"{metric.full_title} {metric.arrow}", fontsize=9)


def _own(rows: Iterable[Row]) -> list[Row]:
    """Rows of the codec's output, without those of the recordings."""
    return [row for row in rows if row["output"] != REFERENCE]


def _spread(runs: Sequence[Sequence[Row]], name: str) -> float | None:
    columns = [[row[name] for row in rows if row.get(name) is not None] for rows in runs]
    means = [statistics.fmean(column) for column in columns if column]
    return statistics.stdev(means) if len(means) > 1 else None


def _json_of(row: Sequence[Gain]) -> dict[str, Any]:
    of_minutes = {f"{gain.minutes:g}": gain.change.to_json() | {"spread_over_seeds": gain.spread} for gain in row}
    return {"minutes": of_minutes, "enough": with_verdict(row, "better"), "worse": with_verdict(row, "worse")}


def _listed(items: Iterable[str]) -> str:
    texts = list(items)
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
