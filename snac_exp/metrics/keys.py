"""Keys of summary.json: `candidate/metric`, like `head_48k/l1` or `initial/head_48k/l1`."""

from collections.abc import Mapping
from typing import Any

NOT_CANDIDATES = ("count", "seconds", "source")  # parts of a summary that measure nobody
_INTERVAL_ENDS = ("_low95", "_high95")  # of 95 % bootstrap intervals, beside the mean of the same name


def flat_values(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a summary by `candidate/metric`, nested dictionaries joined by slashes; lists and texts left out."""
    values: dict[str, float] = {}
    for key, value in summary.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            values |= flat_values(value, f"{name}/")
        elif type(value) in (int, float):  # not isinstance: a bool is an int too
            values[name] = float(value)
    return values


def by_candidate(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What was measured of whom: `{candidate: {metric: value}}`, without counts, interval ends and reductions."""
    grouped: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        candidate, _, metric = key.rpartition("/")
        if not candidate or candidate.partition("/")[0] in NOT_CANDIDATES:
            continue
        # `lsd_high_under_baseline` and its like compare two candidates and belong to neither.
        if not metric.endswith(_INTERVAL_ENDS) and "_under_" not in metric:
            grouped.setdefault(candidate, {})[metric] = value
    return grouped
