"""What a run on a mixture saw of each source, and how well it did on it in the end."""

from dataclasses import dataclass

import numpy as np

from snac_exp.report.charts.series import Metrics, Series
from snac_exp.report.numbers import figure

_ROWS, _VALIDATION = "data/rows_seen/", "val/source/"


@dataclass(frozen=True)
class SourceTable:
    """names: of the sources. rows: a title, and a value for each of them and for all together; null = not measured."""

    names: list[str]
    rows: list[tuple[str, list[str | None]]]


def source_table(metrics: Metrics) -> SourceTable | None:
    """Rows seen, and the last validation; null where there are no sources."""
    seen = metrics.named(_ROWS)
    if not seen:
        return None
    counts = [_last(series) for series in seen.values()]
    total = None if None in counts else sum(count for count in counts if count is not None)
    rows = [("rows seen", [None if count is None else f"{count:,.0f}" for count in [*counts, total]])]
    of_source = {name: metrics.named(f"{_VALIDATION}{name}/") for name in seen}
    for name in dict.fromkeys(name for found in of_source.values() for name in found):
        values = [_last(found.get(name)) for found in of_source.values()]
        rows.append((name, [*map(_text, values), _text(_last(metrics.series.get(f"val/{name}")))]))
    return SourceTable(list(seen), rows)


def _last(series: Series | None) -> float | None:
    if series is None or not len(series) or not np.isfinite(series.values[-1]):
        return None
    return float(series.values[-1])


def _text(value: float | None) -> str | None:
    return None if value is None else figure(value)
