"""Caches and targets of one corpus, true and damaged in the ways that were met."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from snac_exp.data.codes.table import CodeTable

Change = Callable[[np.ndarray, int], np.ndarray]


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change, Callable[[CodeTable], np.ndarray]], None]:
    """Let every cache open with the tokens of chosen rows changed: `change` gets a row's tokens and their stride."""
    true_open = CodeTable.open

    def install(change: Change, rows: Callable[[CodeTable], np.ndarray]) -> None:
        def open_damaged(cache_dir: Path) -> CodeTable:
            table = true_open(cache_dir)
            chosen = set(rows(table).tolist())
            values = []
            for codes, offsets, stride in zip(table.values, table.offsets, table.spec.vq_strides, strict=True):
                pieces = [
                    change(codes[first:stop], stride) if row in chosen else codes[first:stop]
                    for row, (first, stop) in enumerate(pairwise(offsets))
                ]
                values.append(np.concatenate(pieces))
            return dataclasses.replace(table, values=values, row_checksums=None)  # as if cached so

        monkeypatch.setattr(CodeTable, "open", staticmethod(open_damaged))

    return install


@pytest.fixture
def swapped(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let every cache open with the codes of two training rows of one length in each other's place."""
    true_open = CodeTable.open

    def install() -> None:
        def open_swapped(cache_dir: Path) -> CodeTable:
            table = true_open(cache_dir)
            rows = table.rows_of("train")
            lengths = table.coarse_lengths[rows]
            order = np.argsort(lengths, kind="stable")
            place = int(np.flatnonzero(np.diff(lengths[order]) == 0)[0])
            one, two = (int(rows[order[place + i]]) for i in (0, 1))
            values = []
            for codes, offsets in zip(table.values, table.offsets, strict=True):
                changed = codes.copy()
                first, second = (slice(offsets[row], offsets[row + 1]) for row in (one, two))
                changed[first], changed[second] = codes[second], codes[first]
                values.append(changed)
            return dataclasses.replace(table, values=values, row_checksums=None)  # as if cached so

        monkeypatch.setattr(CodeTable, "open", staticmethod(open_swapped))

    return install
