"""How much of a codebook its tokens use."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snac_exp.data.tokens.check import entropy_bits


@dataclass(frozen=True)
class Use:
    """Of the tokens of a codebook, or of one place of the frame.

    entries: of the codebook. used: entries that occur. perplexity: 2 to the entropy, as many entries as equally often
    used ones would be. repeats: share of tokens that equal the one before, in the codebook or at the place, in the same
    utterance. longest_run: most equal tokens in a row.
    """

    entries: int
    num_tokens: int
    used: int
    entropy_bits: float
    perplexity: float
    repeats: float
    longest_run: int


class UseCounter:
    """Adds up tokens of whole utterances."""

    def __init__(self, entries: int) -> None:
        self.counts = np.zeros(entries, np.int64)
        self._repeats = self._pairs = self._longest = 0

    def add(self, tokens: npt.NDArray[np.uint16], starts: npt.NDArray[np.bool_]) -> None:
        """Tokens (n,) of utterances one behind the other; starts (n,): where one begins."""
        self.counts += np.bincount(tokens, minlength=len(self.counts))
        same = np.zeros(len(tokens), np.bool_)
        same[1:] = (tokens[1:] == tokens[:-1]) & ~starts[1:]
        self._repeats += int(same.sum())
        self._pairs += int((~starts).sum())
        # Distances between tokens that begin anew are the lengths of runs.
        edges = np.flatnonzero(np.r_[~same, True])
        self._longest = max(self._longest, int(np.diff(edges).max(initial=0)))

    @property
    def use(self) -> Use:
        """All that was added."""
        bits = entropy_bits(self.counts)
        return Use(
            entries=len(self.counts),
            num_tokens=int(self.counts.sum()),
            used=int((self.counts > 0).sum()),
            entropy_bits=bits,
            perplexity=2.0**bits,
            repeats=self._repeats / max(self._pairs, 1),
            longest_run=self._longest,
        )
