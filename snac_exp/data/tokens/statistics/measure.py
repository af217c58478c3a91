"""All figures of a cache in one pass over its tokens, and one over a part of them for n-grams."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snac_exp.data.codes.table import CodeTable
from snac_exp.data.tokens.statistics.ngrams import Ngrams, ngrams_of
from snac_exp.data.tokens.statistics.use import Use, UseCounter
from snac_exp.lm.layouts.layout import Layout
from snac_exp.system.progress import progress_display

_ROWS_AT_ONCE = 512
_NS = (2, 3)
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitFigures:
    """Utterances, seconds of audio and tokens of all codebooks."""

    utterances: int
    seconds: float
    tokens: int


@dataclass(frozen=True)
class TokenStatistics:
    """What the tokens of a cache are like.

    codebooks, places: coarsest first; in the order of the layout. ngrams[i]: of codebook i, counted in
    ngram_utterances. lengths: tokens of an utterance, smallest, median, 95 in 100, largest. doubles: groups of
    utterances (split/path) whose codes are all the same. counts: (V,) of each codebook, for pictures. all_lengths:
    (rows,) of each utterance.
    """

    codec: str
    layout: str
    splits: dict[str, SplitFigures]
    tokens_per_second: float
    nominal_bits_per_second: float
    entropy_bits_per_second: float
    codebooks: tuple[Use, ...]
    places: tuple[Use, ...]
    ngrams: tuple[tuple[Ngrams, ...], ...]
    ngram_utterances: int
    lengths: tuple[int, int, int, int]
    doubles: tuple[tuple[str, ...], ...]
    counts: tuple[Counts, ...]
    all_lengths: Counts

    @property
    def between_splits(self) -> list[tuple[str, ...]]:
        """The doubles that are in more than one split: what is validated on was trained on."""
        return [group for group in self.doubles if len({name.partition("/")[0] for name in group}) > 1]

    @property
    def as_json(self) -> dict[str, Any]:
        """All but what only a picture needs."""
        values = asdict(self)
        del values["counts"], values["all_lengths"]
        return values | {"between_splits": self.between_splits}


def measure_tokens(table: CodeTable, layout: Layout, ngram_utterances: int) -> TokenStatistics:
    """Figures of all utterances; DataError where tokens are damaged.

    ngram_utterances: n-grams are counted in at most so many, spread evenly.
    """
    sizes = [layout.places[0].size] * len(layout.geometry.vq_strides)
    books, places = [UseCounter(size) for size in sizes], [UseCounter(place.size) for place in layout.places]
    found: dict[bytes, list[int]] = {}
    with progress_display("tokens stats", len(table)) as advance:
        for first in range(0, len(table), _ROWS_AT_ONCE):
            last = min(first + _ROWS_AT_ONCE, len(table))
            _add(table, layout, slice(first, last), books, places)
            for row in range(first, last):
                found.setdefault(_digest(table, row), []).append(row)
            advance(last - first, "")
    chosen = np.unique(np.linspace(0, len(table) - 1, min(ngram_utterances, len(table))).astype(np.int64)).tolist()
    frames_per_second = layout.geometry.sampling_rate / layout.geometry.coarse_hop
    lengths = table.coarse_lengths * layout.num_places
    return TokenStatistics(
        codec=table.spec.codec_name,
        layout=layout.name,
        splits=_splits(table, layout.num_places),
        tokens_per_second=frames_per_second * layout.num_places,
        nominal_bits_per_second=frames_per_second * sum(float(np.log2(place.size)) for place in layout.places),
        entropy_bits_per_second=frames_per_second * sum(item.use.entropy_bits for item in places),
        codebooks=tuple(item.use for item in books),
        places=tuple(item.use for item in places),
        ngrams=tuple(
            tuple(ngrams_of([table.codes(row, book) for row in chosen], size, n) for n in _NS)
            for book, size in enumerate(sizes)
        ),
        ngram_utterances=len(chosen),
        lengths=_quantiles(lengths),
        doubles=tuple(_named(table, rows) for rows in found.values() if len(rows) > 1),
        counts=tuple(item.counts for item in books),
        all_lengths=lengths,
    )


def _add(table: CodeTable, layout: Layout, rows: slice, books: list[UseCounter], places: list[UseCounter]) -> None:
    """Count the tokens of neighbouring rows, which lie one behind the other in the table."""
    for row in range(rows.start, rows.stop):
        table.codes(row, 0, slice(0, 0))  # compares the row with its checksum
    coarse = table.offsets[0][rows.start : rows.stop + 1]
    starts = np.zeros(int(coarse[-1] - coarse[0]), np.bool_)
    starts[(coarse[:-1] - coarse[0])[np.diff(coarse) > 0]] = True
    for book, counter in enumerate(books):
        offsets = table.offsets[book][[rows.start, rows.stop]]
        tokens = table.values[book][offsets[0] : offsets[1]]
        each = layout.geometry.codebook_length(book, 1)
        begins = np.zeros((len(starts), each), np.bool_)
        begins[:, 0] = starts
        counter.add(tokens, begins.reshape(-1))
        for number, place in enumerate(layout.places):
            if place.codebook == book:
                places[number].add(tokens.reshape(-1, each)[:, place.index], starts)


def _digest(table: CodeTable, row: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for book in range(len(table.values)):
        digest.update(table.codes(row, book).tobytes())
    return digest.digest()


def _named(table: CodeTable, rows: list[int]) -> tuple[str, ...]:
    return tuple(f"{table.splits[row].as_py()}/{table.path(row)}" for row in rows)


def _splits(table: CodeTable, num_places: int) -> dict[str, SplitFigures]:
    found = {}
    for split in sorted(set(table.splits.to_pylist())):
        rows = table.rows_of(split)
        seconds = float(table.num_samples[rows].sum()) / table.spec.sampling_rate
        found[split] = SplitFigures(len(rows), seconds, int(table.coarse_lengths[rows].sum()) * num_places)
    return found


def _quantiles(lengths: Counts) -> tuple[int, int, int, int]:
    smallest, median, most, largest = np.quantile(lengths, [0, 0.5, 0.95, 1], method="higher").tolist()
    return int(smallest), int(median), int(most), int(largest)
