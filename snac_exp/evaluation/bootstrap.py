"""Means over utterances with their 95 % intervals, by the bootstrap; every draw follows from a seed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from snac_exp.config.seeding import generator

_NUM_RESAMPLES = 2000  # 50 means lie beyond each end of a 95 % interval
_MOST_INDICES = 2**22  # drawn at once, 32 MB


@dataclass(frozen=True)
class Estimate:
    """A mean over the `num` utterances where a measure is defined.

    low95, high95: its interval; None for a single utterance, which tells nothing of its spread.
    """

    mean: float
    low95: float | None
    high95: float | None
    num: int

    @property
    def excludes_zero(self) -> bool:
        """Whether all of the interval lies on one side of 0."""
        return self.low95 is not None and self.high95 is not None and (self.low95 > 0 or self.high95 < 0)

    def to_json(self) -> dict[str, float | int | None]:
        """Plain values."""
        return asdict(self)


def estimate(values: Sequence[float | None], seed: int) -> Estimate | None:
    """Mean and interval of the defined values; None if there are none.

    Given differences between two systems, utterance by utterance, this is the paired bootstrap: a draw takes both
    values of an utterance or neither.
    """
    # Left out, not taken for 0: a metric of silence or of a narrow recording is undefined, not bad.
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    # Of one value every resample is the same, and the interval would claim certainty.
    low, high = bootstrap_interval(defined, seed) if len(defined) > 1 else (None, None)
    return Estimate(float(np.mean(defined)), low, high, len(defined))


def bootstrap_interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """95 % interval of the mean by the percentile bootstrap over utterances (Efron 1979), 2000 draws.

    Utterances of one speaker are alike, so with few speakers the true interval is wider; below about 20 utterances too.
    """
    array = np.asarray(values, dtype=np.float64)
    numbers = generator(seed, "bootstrap")
    means = np.empty(_NUM_RESAMPLES)
    # In blocks, since the indices of all draws at once would take gigabytes for a large set.
    step = max(1, _MOST_INDICES // len(array))
    for start in range(0, _NUM_RESAMPLES, step):
        block = means[start : start + step]
        block[:] = array[numbers.integers(len(array), size=(len(block), len(array)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
