"""The statistics of tokens as tables for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from snac_exp.data.tokens.statistics.measure import TokenStatistics
from snac_exp.data.tokens.statistics.use import Use

_SHOWN_DOUBLES = 10


def statistics_tables(found: TokenStatistics) -> RenderableType:
    """All figures, the longer lists cut."""
    books = [[f"codebook {i}", *_use(use)] for i, use in enumerate(found.codebooks)]
    places = [[f"place {i}", *_use(use)] for i, use in enumerate(found.places)]
    head = ["", "tokens", "used", "bits", "perplexity", "repeats", "longest run"]
    return Group(
        _table(f"codec {found.codec}", ["split", "utterances", "minutes", "tokens"], _splits(found)),
        _table("use of the codebooks", head, books),
        _table(f"use at the places of a frame, layout {found.layout}", head, places),
        _table(
            f"tokens in a row, in {found.ngram_utterances} utterances",
            ["", "n", "n-grams", "distinct", "occur once", "bits of the next", "most common"],
            _ngrams(found),
        ),
        Text("\n".join(_lines(found))),
    )


def _use(use: Use) -> list[str]:
    return [
        f"{use.num_tokens}", f"{use.used} of {use.entries}", f"{use.entropy_bits:.2f}", f"{use.perplexity:.1f}",
        f"{use.repeats:.1%}", f"{use.longest_run}",
    ]  # fmt: skip


def _splits(found: TokenStatistics) -> list[list[str]]:
    items = found.splits.items()
    return [[name, f"{item.utterances}", f"{item.seconds / 60:.1f}", f"{item.tokens}"] for name, item in items]


def _ngrams(found: TokenStatistics) -> list[list[str]]:
    rows = []
    for book, several in enumerate(found.ngrams):
        for item in several:
            common = ", ".join(f"{' '.join(map(str, tokens))} ({num})" for tokens, num in item.most_common[:3])
            figures = [f"{item.n}", f"{item.total}", f"{item.distinct}", f"{item.once:.1%}", f"{item.next_bits:.2f}"]
            rows.append([f"codebook {book}", *figures, common])
    return rows


def _lines(found: TokenStatistics) -> list[str]:
    smallest, median, most, largest = found.lengths
    between = found.between_splits
    lines = [
        f"{found.tokens_per_second:.1f} tokens a second, {found.nominal_bits_per_second:.0f} bit/s, "
        f"{found.entropy_bits_per_second:.0f} bit/s by their entropy",
        f"tokens of an utterance: {smallest} to {largest}, median {median}, 95 of 100 have at most {most}",
        f"utterances of the same codes: {len(found.doubles)} groups, {len(between)} of them in several splits",
    ]
    lines += [f"  {' = '.join(group)}" for group in between[:_SHOWN_DOUBLES]]
    return [*lines, f"  and {len(between) - _SHOWN_DOUBLES} more"] if len(between) > _SHOWN_DOUBLES else lines


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=Text(title), title_justify="left")
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if not number or name == "most common" else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
