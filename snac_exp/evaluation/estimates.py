"""From rows per file to means with intervals, and to paired differences between two sets of rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snac_exp.evaluation.bootstrap import Estimate, estimate
from snac_exp.evaluation.folder import Row
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.sides import verdict_of
from snac_exp.metrics.table import METRICS


@dataclass(frozen=True)
class Difference:
    """How much lower or higher one set of rows is than another in one metric, over utterances that both have.

    before, after: means over those utterances; change: after - before with its paired interval.
    """

    metric: Metric
    before: float
    after: float
    change: Estimate

    @property
    def verdict(self) -> str | None:
        """`better` or `worse` where 0 lies outside of the interval, else None: no difference was shown, or both
        lie on either side of the 0 that is best."""
        if not self.change.excludes_zero:
            return None
        # The sign alone does not say which way a difference points.
        return verdict_of(self.before, self.after, self.metric.better or "lower")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"before": self.before, "after": self.after, **self.change.to_json(), "verdict": self.verdict}


def by_output(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of each output, in the order in which outputs first appear."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["output"], []).append(row)
    return found


def estimates(rows: Sequence[Row], seed: int) -> dict[str, Estimate | None]:
    """Mean and interval of every metric of one output; None where no utterance defines it."""
    metrics = (metric for metric in METRICS if any(metric.applies(row["rate"]) for row in rows))
    return {
        metric.name: estimate([row[metric.name] for row in rows], seed) for metric in metrics if metric.name in rows[0]
    }


def differences(before: Sequence[Row], after: Sequence[Row], seed: int) -> list[Difference]:
    """Paired differences of two outputs, over the utterances where both define a metric.

    The bootstrap takes both values of an utterance or neither, so what makes an utterance hard cancels out.
    """
    # Paired by content: a folder may have moved, and a path may hold another recording by now.
    earlier = {row["sha1"]: row for row in before}
    pairs = [(earlier[row["sha1"]], row) for row in after if row["sha1"] in earlier]
    found = []
    for metric in METRICS:
        values = [both for pair in pairs if (both := _both(pair, metric.name)) is not None]
        change = estimate([late - early for early, late in values], seed)
        if change is not None:
            # Over the pairs alone; the means of all rows would not differ by `change`.
            early_mean, late_mean = (sum(column) / len(values) for column in zip(*values, strict=True))
            found.append(Difference(metric, early_mean, late_mean, change))
    return found


def _both(pair: tuple[Mapping[str, Any], Mapping[str, Any]], name: str) -> tuple[float, float] | None:
    early, late = (row.get(name) for row in pair)
    return None if early is None or late is None else (early, late)
