"""Folders mixed by weight: which rows, and how often, an epoch holds."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from snac_exp.config.seeding import generator
from snac_exp.errors import ConfigError

Int64Array = npt.NDArray[np.int64]


def mix(rows: Sequence[Int64Array], weights: Sequence[float], seed: int) -> Int64Array:
    """One epoch's rows such that folder i has the share weights[i] / sum(weights) of them.

    No row is left out: the folder with the most rows for its share comes once, the others come again as often as it
    takes, each of their rows floor(n) or ceil(n) times; which ones come once more is drawn by the seed. The shuffle of
    every epoch is the sampler's, so all of it resumes by arithmetic.
    Raises ConfigError if a weight is not above 0.
    """
    for weight in weights:
        # Written so that NaN is refused too.
        if not weight > 0:
            raise ConfigError(f"data.sources: weight={weight} must be greater than 0; leave a folder out instead")
    shares = np.asarray(weights, dtype=np.float64) / sum(weights)
    # The shortest epoch in which every folder can come whole and still have its share.
    total = max(len(found) / share for found, share in zip(rows, shares, strict=True))
    return np.concatenate(
        [
            _repeated(found, round(total * share), seed, number)
            for number, (found, share) in enumerate(zip(rows, shares, strict=True))
        ]
    )


def _repeated(rows: Int64Array, wanted: int, seed: int, number: int) -> Int64Array:
    """`wanted` rows: every one floor(wanted / rows) times, some drawn ones once more."""
    whole, rest = divmod(wanted, len(rows))
    extra = generator(seed, "mix", number).permutation(len(rows))[:rest]
    return np.concatenate([np.tile(rows, whole), rows[np.sort(extra)]])
