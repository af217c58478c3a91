"""Word and character error rates of what a recogniser understood."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from snac_exp.metrics.metric import Metric


def word_error_rate(text: str, recognised: str) -> float | None:
    """Substituted, deleted and inserted words / words of the text; above 1 where much is inserted.

    Case and punctuation do not count. None for a text without words.
    """
    return _rate(normalised(text).split(), normalised(recognised).split())


def character_error_rate(text: str, recognised: str) -> float | None:
    """As `word_error_rate`, of characters; a gap between words is one."""
    return _rate(normalised(text), normalised(recognised))


def normalised(text: str) -> str:
    """Lower case, without punctuation and symbols, words with one space between them."""
    folded = unicodedata.normalize("NFKC", text).lower()
    # Hyphens divide words, apostrophes do not: "well-known" is two, "don't" is one.
    kept = ("" if it in "'\u2019" else " " if unicodedata.category(it)[0] in "PSZ" else it for it in folded)
    return " ".join("".join(kept).split())


def _rate(wanted: Sequence[str], found: Sequence[str]) -> float | None:
    return _distance(wanted, found) / len(wanted) if wanted else None


def _distance(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Levenshtein's."""
    above = list(range(len(found) + 1))
    for row, left in enumerate(wanted, 1):
        line = [row]
        for column, right in enumerate(found, 1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (left != right)))
        above = line
    return above[-1]


WER = Metric(
    "wer", "word error rate", "fraction", decimals=4, order=160, text_function=word_error_rate, group="words",
    reference_free=True, packages=("transformers",),
)  # fmt: skip
CER = Metric(
    "cer", "character error rate", "fraction", decimals=4, order=161, text_function=character_error_rate,
    group="words", reference_free=True, packages=("transformers",),
)  # fmt: skip
