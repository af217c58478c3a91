"""Which rows are looked at, and what a look at some of them says about all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from snac_exp.config.seeding import generator
from snac_exp.data.slices.dataset import AlignedDataset
from snac_exp.errors import PreflightError

FOUND_SHARE = 0.05  # of bad rows, that is found ...
CERTAINTY = 0.95  # ... with this probability
# Seconds of audio times millions of encoder parameters: up to here all rows of a split are looked at, since two
# swapped rows of a small data set are too few for a sample to find. The demo codec encodes ten minutes within it.
CHECKED_WHOLE_COST = 300.0
SECONDS_PER_ROW = 2.7  # of a window and its context
NUM_NAMED = 5  # of the worst rows in a message


@dataclass(frozen=True)
class RowVerdict:
    """What is wrong with one row of a split; `score` orders the worst first (smaller is worse)."""

    path: str
    score: float
    cause: str


def needed_rows() -> int:
    """Rows among which at least one is bad with the stated certainty if the stated fraction of all rows is: 59."""
    num = 1
    while (1 - FOUND_SHARE) ** num > 1 - CERTAINTY:
        num += 1
    return num


def sample_rows(dataset: AlignedDataset, cost_per_second: float, seed: int, attempt: int = 0) -> list[int]:
    """Rows of a split to look at: all where that costs little, else as many as are needed, others at every start.

    cost_per_second: of looking at a second of audio, in millions of parameters.
    """
    if len(dataset) <= needed_rows() or len(dataset) * SECONDS_PER_ROW * cost_per_second <= CHECKED_WHOLE_COST:
        return list(range(len(dataset)))
    # By the attempt: every start sees other rows, so that restarts of a long run cover more and more.
    order = generator(seed, "preflight/rows", attempt).permutation(len(dataset))
    return sorted(int(row) for row in order[: needed_rows()])


def share_interval(num_bad: int, num_rows: int) -> tuple[float, float]:
    """95 % interval of the fraction of bad rows among all, from `num_bad` of `num_rows` drawn.

    Wilson's; the upper end for none is the exact one-sided bound 1 - 0.05^(1/n).
    """
    if num_bad == 0:
        return 0.0, 1 - (1 - CERTAINTY) ** (1 / num_rows)
    z = 1.96  # of a two-sided 95 % interval
    fraction, spread = num_bad / num_rows, z * z / num_rows
    middle = (fraction + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (fraction * (1 - fraction) / num_rows + spread / (4 * num_rows)) ** 0.5
    return max(middle - half, 0.0), min(middle + half, 1.0)


def holds_of_all(num_rows: int, total: int) -> str:
    """What a sample without a bad row says of all: `all 80 rows`, or `59 of 3,000 rows (at most 5.0 % …)`."""
    if num_rows == total:
        return f"all {total} rows"
    bound = share_interval(0, num_rows)[1]
    return f"{num_rows} of {total:,} rows (at most {bound:.1%} of all are bad, with 95 % certainty)"


def refuse(what: str, split: str, bad: Sequence[RowVerdict], num_rows: int, total: int, mend: str) -> None:
    """Refuse a split with bad rows.

    Raises:
        PreflightError: says how many, estimates the fraction of all, names the worst with their causes, and the mend.
    """
    if not bad:
        return
    worst = sorted(bad, key=lambda verdict: verdict.score)[:NUM_NAMED]
    low, high = share_interval(len(bad), num_rows)
    estimate = "" if num_rows == total else f", so {low:.0%} to {high:.0%} of all {total:,} with 95 % certainty"
    named = "".join(f"\n  {verdict.path}: {verdict.cause}" for verdict in worst)
    more = f"\n  … and {len(bad) - len(worst)} more" if len(bad) > len(worst) else ""
    raise PreflightError(f"{what}: {len(bad)} of {num_rows} {split} rows are bad{estimate}; {mend}{named}{more}")
