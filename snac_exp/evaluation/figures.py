"""From rows per file to means with intervals, and to paired differences between two sets of rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snac_exp.evaluation.bootstrap import Estimate, estimate
from snac_exp.evaluation.folder import Row
from snac_exp.metrics.table import MEASURES, Measure


@dataclass(frozen=True)
class Difference:
    """How much lower or higher one set of rows is than another in one measure, over utterances that both have.

    before, after: means over those utterances; change: after - before with its paired interval.
    """

    measure: Measure
    before: float
    after: float
    change: Estimate

    @property
    def verdict(self) -> str | None:
        """`better` or `worse` where 0 lies outside of the interval, else None: no difference was shown."""
        if not self.change.excludes_zero:
            return None
        return "better" if (self.change.mean > 0) == self.measure.higher_is_better else "worse"

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
    """Mean and interval of every measure of one output; None where no utterance defines it."""
    measures = (measure for measure in MEASURES if any(measure.at(row["rate"]) for row in rows))
    return {
        measure.name: estimate([row[measure.name] for row in rows], seed)
        for measure in measures
        if measure.name in rows[0]
    }


def differences(before: Sequence[Row], after: Sequence[Row], seed: int) -> list[Difference]:
    """Paired differences of two outputs, over the utterances where both define a measure.

    The bootstrap takes both figures of an utterance or neither, so what makes an utterance hard cancels out.
    """
    earlier = {row["sha1"]: row for row in before}
    pairs = [(earlier[row["sha1"]], row) for row in after if row["sha1"] in earlier]
    found = []
    for measure in MEASURES:
        values = [both for pair in pairs if (both := _both(pair, measure.name)) is not None]
        change = estimate([late - early for early, late in values], seed)
        if change is not None:
            early_mean, late_mean = (sum(column) / len(values) for column in zip(*values, strict=True))
            found.append(Difference(measure, early_mean, late_mean, change))
    return found


def _both(pair: tuple[Mapping[str, Any], Mapping[str, Any]], name: str) -> tuple[float, float] | None:
    early, late = (row.get(name) for row in pair)
    return None if early is None or late is None else (early, late)
