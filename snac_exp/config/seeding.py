"""Randomness without history: every draw is a function of (seed, purpose, position).

Nothing here holds state, so resuming in the middle of an epoch is arithmetic and workers need no seeds of their own.
"""

import hashlib

import numpy as np


def derive_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for one purpose at one position, e.g. `derive_seed(0, "slice", epoch, index)`.

    Different purposes or positions give independent seeds; the value is the same on every machine and version.
    """
    # hash() would differ from process to process; the last bit goes, so that a signed 64-bit integer holds the seed.
    text = f"{seed}/{purpose}/{'/'.join(str(index) for index in position)}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """A NumPy generator (Philox) for one purpose at one position."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, purpose, *position)))
