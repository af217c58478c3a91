"""Where the time of a step goes."""

from dataclasses import dataclass

import numpy as np

from snac_exp.report.charts.series import Metrics, Series

STEP = "step_seconds"
_NOT_PARTS = (STEP, "audio_seconds_per_second")
_TINTS = {
    "data_wait": "c5", "forward": "c1", "loss": "c4", "backward": "c2", "optimizer": "c3", "logging": "c6",
    "checkpoint": "c7",
}  # fmt: skip


@dataclass(frozen=True)
class Share:
    """A part of the step: milliseconds and percent."""

    name: str
    tint: str
    milliseconds: float
    percent: float


@dataclass(frozen=True)
class Split:
    """The mean step: its milliseconds and its parts, which add up to it."""

    milliseconds: float
    num_steps: int
    parts: list[Share]


def step_split(metrics: Metrics) -> Split | None:
    """The mean of all logged steps but the first, which warms up; None if no step was timed.

    Parts are the metrics `speed/NAME_seconds`, or fractions `speed/NAME_share` of the step where there are only those;
    what they leave is `other`. Means add up, other than medians.
    """
    speed = metrics.named("speed/")
    if STEP not in speed:
        return None
    total = _mean(speed[STEP])
    if not total > 0:
        return None
    seconds = {
        name.removesuffix("_seconds"): _mean(series)
        for name, series in speed.items()
        if name.endswith("_seconds") and name not in _NOT_PARTS
    }
    fractions = {
        name.removesuffix("_share"): _weighted(series, speed[STEP])
        for name, series in speed.items()
        if name.endswith("_share")
    }
    # A part without a finite value would make the whole sum NaN.
    parts = {name: value for name, value in (fractions | seconds).items() if np.isfinite(value)}
    rest = total - sum(parts.values())
    # Half a percent: below that it is what rounding leaves.
    if rest > 0.005 * total:
        parts["compute" if len(parts) == 1 else "other"] = rest
    # Parts that overlap, such as data read during the forward pass, may add up to more than the step.
    whole = max(total, sum(parts.values()))
    made = [
        Share(name.replace("_", " "), _TINTS.get(name, "c0"), 1000 * value, 100 * value / whole)
        for name, value in parts.items()
    ]
    return Split(1000 * total, len(speed[STEP]), made)


def _mean(series: Series) -> float:
    values = series.finite.values
    # Without the first, which compiles, allocates and fills caches.
    return float(values[1:].mean() if len(values) > 1 else values.mean()) if len(values) else float("nan")


def _weighted(fraction: Series, step: Series) -> float:
    """Mean seconds of a part that is logged as a fraction of the step."""
    # Of another number of lines they cannot be multiplied line by line.
    if len(fraction) != len(step):
        return float("nan")
    return _mean(Series(step.steps, fraction.values * step.values))
