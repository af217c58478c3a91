"""Blind listening: which letter is which run, and which of them X is."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from snac_exp.config.seeding import generator
from snac_exp.errors import ConfigError

X = "X"
# X is the sound to be told, so it is no run's letter.
LETTERS = ascii_uppercase.replace(X, "")


@dataclass(frozen=True)
class Blind:
    """The key of one set of sounds. order: which run (by its place) stands at A, B, …; x: the letter that X equals."""

    order: tuple[int, ...]
    x: str
    names: tuple[str, ...]

    @property
    def letters(self) -> list[str]:
        """A, B, …, as many as runs."""
        return list(LETTERS[: len(self.order)])

    @property
    def columns(self) -> list[str]:
        """What stands above the sounds: the letters, then X."""
        return [*self.letters, X]

    @property
    def places(self) -> list[int]:
        """The run at every column."""
        return [*self.order, self.order[self.letters.index(self.x)]]

    def key(self) -> dict[str, object]:
        """Plain values: `letters` to names, and what X is."""
        return {"letters": dict(zip(self.letters, self.names, strict=True)), "x": self.x}

    @property
    def sealed(self) -> str:
        """The key for the page, so that a look at its source does not tell by accident."""
        return base64.b64encode(json.dumps(self.key()).encode()).decode()


def shuffled(names: Sequence[str], seed: int, what: str) -> Blind:
    """A random order of runs and a random X, a function of (seed, what).

    Raises:
        ConfigError: more runs than letters.
    """
    if len(names) > len(LETTERS):
        raise ConfigError(
            f"blind listening has letters for {len(LETTERS)} runs, not {len(names)}; compare fewer at once"
        )
    # By title too: the same seed gives every clip and signal an order of its own.
    numbers = generator(seed, f"blind/{what}")
    order = tuple(int(place) for place in numbers.permutation(len(names)))
    x = LETTERS[int(numbers.integers(len(names)))]
    return Blind(order, x, tuple(names[place] for place in order))
