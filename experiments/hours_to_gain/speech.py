"""Parts of a prepared folder: a held-out part of its training speakers, and subsets of so many minutes of the rest."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from snac_exp.config.seeding import derive_seed
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.slices.splits import limited
from snac_exp.errors import ConfigError

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Subset:
    """Training rows of a run: `limit` of them, drawn by its seed; those of fewer minutes are among them."""

    limit: int
    minutes: float
    speakers: int


def divided(prepared: Path, held_out: float, minutes: Sequence[float]) -> Manifest:
    """The training rows of a prepared folder as a manifest of their own, whose validation rows are `held_out` minutes.

    Rows of the folder's own validation speakers are in neither part.

    Raises:
        ConfigError: the folder has fewer minutes than the most that are asked for, beside those held out.
        DataError: it is no prepared folder.
    """
    manifest = Manifest.read(prepared)
    # By name: a row's place in the order does not depend on the others, so more speech changes little.
    rows = [row for row in manifest.rows if row.split == "train"]
    rows.sort(key=lambda row: (derive_seed(0, f"held_out/{row.path}"), row.path))
    num_held = _num_of([row.seconds for row in rows], held_out)
    parts = {"validation": rows[:num_held], "train": rows[num_held:]}
    found = _minutes(parts["train"])
    if max(minutes) > found:
        fitting = ",".join(f"{item:g}" for item in minutes if item <= found)
        mend = f"ask for minutes={fitting}, or prepare more" if fitting else "prepare more"
        raise ConfigError(
            f"minutes={max(minutes):g} is more than {prepared} has: {found:.1f} minutes to train on, beside "
            f"{_minutes(parts['validation']):.1f} of the same speakers held out (held_out={held_out:g}); {mend}"
        )
    return manifest.with_rows(replace(row, split=name) for name, part in parts.items() for row in part)


def subset(cache: Path, minutes: float, seed: int) -> Subset:
    """As many training rows of a code cache as reach these minutes, in the order that `data.limit` takes them."""
    table = CodeTable.open(cache)
    rows = table.rows_of("train")

    def reached(limit: int) -> float:
        samples = table.num_samples[limited(rows, limit, seed)].sum()
        return float(samples) / table.spec.sampling_rate / SECONDS_PER_MINUTE

    if reached(len(rows)) < minutes:  # of rows that could not be read any more
        raise ConfigError(
            f"minutes={minutes:g}: {cache} has {reached(len(rows)):.1f} minutes to train on; ask for fewer"
        )
    limit = 1 + bisect_left(range(1, len(rows) + 1), minutes, key=reached)
    chosen = limited(rows, limit, seed)
    return Subset(limit, reached(limit), len({table.speaker(int(row)) for row in np.asarray(chosen)}))


def _num_of(seconds: Sequence[float], minutes: float) -> int:
    """How many of the first rows reach so many minutes; all, where they do not."""
    reached = np.cumsum(np.asarray(seconds)) / SECONDS_PER_MINUTE
    return min(int(np.searchsorted(reached, minutes)) + 1, len(seconds))


def _minutes(rows: Sequence[ManifestRow]) -> float:
    return sum(row.seconds for row in rows) / SECONDS_PER_MINUTE
