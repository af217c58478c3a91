"""The statistics of tokens against counts made one by one."""

from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snac_exp.data.tokens.statistics.measure import TokenStatistics, measure_tokens
from snac_exp.data.tokens.statistics.ngrams import ngrams_of
from tests.helpers.code_tables import table_of
from tests.lm.layouts.made import codes_of, made

ENTRIES = 8
LAYOUT = made("flat", entries=ENTRIES)


def measured(lengths: list[int]) -> tuple[TokenStatistics, list[list[np.ndarray]]]:
    # Some zeros in a row within and between utterances, which only the second are no repeats.
    utterances = [[row % 3 for row in codes_of(LAYOUT, num, seed)] for seed, num in enumerate(lengths)]
    return measure_tokens(table_of(utterances, ["train"] * len(lengths), ENTRIES), LAYOUT, 1000), utterances


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_every_figure_is_that_of_counting_one_by_one(lengths: list[int]) -> None:
    found, utterances = measured(lengths)
    streams = [[codes[book].tolist() for codes in utterances] for book in range(3)]
    places = [(0, 0, 1), (1, 0, 2), (2, 0, 4), (2, 1, 4), (1, 1, 2), (2, 2, 4), (2, 3, 4)]
    streams += [[codes[book].tolist()[start::step] for codes in utterances] for book, start, step in places]
    for use, stream in zip([*found.codebooks, *found.places], streams, strict=True):
        counts = Counter(token for tokens in stream for token in tokens)
        shares = np.array(list(counts.values())) / counts.total()
        pairs = [one == other for tokens in stream for one, other in pairwise(tokens)]
        assert (use.num_tokens, use.used, use.entries) == (counts.total(), len(counts), ENTRIES)
        assert use.entropy_bits == pytest.approx(float(-(shares * np.log2(shares)).sum()), abs=1e-9)
        assert use.perplexity == pytest.approx(2**use.entropy_bits)
        assert use.repeats == pytest.approx(sum(pairs) / max(len(pairs), 1))
        assert use.longest_run == max(len(list(run)) for tokens in stream for _, run in groupby(tokens))
    assert found.splits["train"].tokens == 7 * sum(lengths)
    assert (found.lengths[0], found.lengths[3]) == (7 * min(lengths), 7 * max(lengths))
    assert found.tokens_per_second == pytest.approx(7 * 24000 / 2048)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4095), max_size=6), max_size=4), st.integers(2, 3))
def test_ngrams_are_those_within_utterances(streams: list[list[int]], n: int) -> None:
    found = ngrams_of([np.array(tokens, np.uint16) for tokens in streams], 4096, n)
    counts = Counter(tuple(tokens[i : i + n]) for tokens in streams for i in range(len(tokens) - n + 1))
    assert (found.total, found.distinct) == (counts.total(), len(counts))
    assert dict(found.most_common).items() <= counts.items()
    assert [num for _, num in found.most_common] == sorted(counts.values(), reverse=True)[:5]
    assert found.once == (sum(num == 1 for num in counts.values()) / len(counts) if counts else 0.0)


def test_what_follows_from_the_token_before_has_no_bits() -> None:
    assert ngrams_of([np.array([0, 1, 2] * 5, np.uint16)], 8, 2).next_bits == pytest.approx(0, abs=1e-9)
    assert ngrams_of([np.array([0, 0, 1, 1, 0], np.uint16)], 8, 2).next_bits == pytest.approx(1)


def test_equal_utterances_are_found_between_splits() -> None:
    one, other = codes_of(LAYOUT, 3, 1), codes_of(LAYOUT, 3, 2)
    late = [*one[:2], one[2].copy()]
    late[2][-1] = (late[2][-1] + 1) % ENTRIES  # one token of the finest codebook
    splits = ["train", "train", "validation", "train", "train"]
    found = measure_tokens(table_of([one, other, one, late, other], splits, ENTRIES), LAYOUT, 1)
    assert found.doubles == (("train/0.wav", "validation/2.wav"), ("train/1.wav", "train/4.wav"))
    assert found.between_splits == [("train/0.wav", "validation/2.wav")]
    assert found.ngram_utterances == 1
