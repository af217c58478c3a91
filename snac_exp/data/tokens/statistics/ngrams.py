"""Tokens of a codebook that follow each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snac_exp.data.tokens.check import entropy_bits

Tokens = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Ngrams:
    """Runs of n tokens within utterances.

    once: share of the distinct ones that occur once. next_bits: entropy of the last token where those before it are
    known; too low where there are few n-grams, as they seem to follow from each other. most_common: tokens and number.
    """

    n: int
    total: int
    distinct: int
    once: float
    next_bits: float
    most_common: tuple[tuple[tuple[int, ...], int], ...]


def ngrams_of(utterances: Sequence[Tokens], entries: int, n: int, num_common: int = 5) -> Ngrams:
    """Count the n-grams of the tokens (T,) of each utterance."""
    keys = np.concatenate([np.zeros(0, np.int64), *(_keys(tokens, entries, n) for tokens in utterances)])
    values, counts = np.unique(keys, return_counts=True)
    before = np.unique(keys // entries, return_counts=True)[1]
    # Of equally frequent ones the first in order, so that the list is the same everywhere.
    common = np.lexsort((values, -counts))[:num_common]
    return Ngrams(
        n=n,
        total=len(keys),
        distinct=len(values),
        once=float((counts == 1).mean()) if len(counts) else 0.0,
        next_bits=max(entropy_bits(counts) - entropy_bits(before), 0.0),
        most_common=tuple((_tokens(int(values[i]), entries, n), int(counts[i])) for i in common),
    )


def _keys(tokens: Tokens, entries: int, n: int) -> npt.NDArray[np.int64]:
    """One number (T - n + 1,) for each n-gram, the first token counting most; 4096 entries leave room for n = 5."""
    if len(tokens) < n:
        return np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(tokens.astype(np.int64), n)
    return np.asarray(windows @ (entries ** np.arange(n - 1, -1, -1, dtype=np.int64)), np.int64)


def _tokens(key: int, entries: int, n: int) -> tuple[int, ...]:
    return tuple(key // entries**power % entries for power in range(n - 1, -1, -1))
