"""Codes that two ways of computing the same latents give."""

from collections.abc import Sequence

import numpy as np

OF_ONE_STEP = 7  # of a coarse step of strides 4, 2, 1: the coarsest code decides all that follow it
SHARE = 0.005


def assert_same_codes(found: Sequence[object], expected: Sequence[object]) -> None:
    """Codes per level, of the same shapes, equal but for ties.

    Another length or batch makes some processors add in another order, and a latent that lies between two entries of
    a codebook then goes to the other one. Within one process, of one shape, codes are equal: ask for that where it is.
    """
    pairs = [(np.asarray(one), np.asarray(other)) for one, other in zip(found, expected, strict=True)]
    assert all(one.shape == other.shape for one, other in pairs), [(one.shape, other.shape) for one, other in pairs]
    different = sum(int((one != other).sum()) for one, other in pairs)
    assert different <= max(OF_ONE_STEP, SHARE * sum(one.size for one, _ in pairs)), different
