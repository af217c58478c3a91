"""Rows of a source kept as columns: they come back as they were found, whatever their parts hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from snac_exp.data.files import listed_table
from snac_exp.data.files.listed_table import Found
from snac_exp.data.files.listing import Listing, listing_of
from snac_exp.data.files.recording import Bytes
from snac_exp.errors import DataError

BASE = Path("/base")


@pytest.fixture(autouse=True)
def _three_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_table, "ROWS_AT_ONCE", 3)


def of_columns(*values: dict[str, Any]) -> Listing:
    rows = (Found(f"/base/{number}.wav", columns=columns) for number, columns in enumerate(values))
    return listing_of(BASE, "list", rows)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2, 3, 4], pa.int64(), None),
        ([1, 2, None, 0.5], pa.float64(), [1.0, 2.0, None, 0.5]),
        ([1, 0.1, 2, None, 3], pa.float64(), [1.0, 0.1, 2.0, None, 3.0]),
        ([1, 1.0, 2, "a"], pa.string(), ["1", "1.0", "2", "a"]),
        ([True, None, False, False], pa.bool_(), None),
        ([True, None, False, 1], pa.string(), ["true", None, "false", "1"]),
        ([[1], {"a": "ö"}, None, 2**70], pa.string(), ["[1]", '{"a": "ö"}', None, str(2**70)]),
        ([None, None, None, None], pa.string(), None),
        ([None, None, None, 7], pa.int64(), None),
    ],
)
def test_a_column_has_one_type_whatever_its_parts_have(
    values: list[Any], kind: Any, expected: list[Any] | None
) -> None:
    listing = of_columns(*({"x": value} for value in values))
    assert listing.more == pa.schema([("x", kind)])
    found = [listing.rows[number].columns["x"] for number in range(len(values))]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in expected or values]


def test_a_column_that_some_parts_lack_is_null_there() -> None:
    listing = of_columns({}, {}, {}, {"late": 1}, {}, {}, {"early": "a"}, {"late": 2})
    assert [listing.rows[number].columns for number in (0, 3, 6, 7)] == [
        {"late": None, "early": None},
        {"late": 1, "early": None},
        {"late": None, "early": "a"},
        {"late": 2, "early": None},
    ]
    with pytest.raises(DataError, match="list: column x holds values that are not text"):
        of_columns({"x": "\ud800"})


def test_rows_come_in_the_order_of_their_paths_each_once_and_by_their_files() -> None:
    odd = "o\udcff.wav"  # of bytes that are no text
    rows = [
        Found(f"/base/{odd}", speaker="s"),
        Found("/base/long.flac", offset=1.0, duration=0.5),
        Found("/base/ö.wav"),
        Found("/base/long.flac", offset=0.25),
        Found("/base/long.flac", offset=1.0, duration=0.5, split="dev"),
        Found("/base/a.tar", "a.tar/b/c.wav", Bytes(512, 9)),
        Found("/base/a.tar", "a.tar/a.wav", Bytes(2048, 9), channel=1),
        Found(None, "nowhere", fault="has no audio"),
    ]
    listing = listing_of(BASE, "list", iter(rows))
    names = [listing.rows[number].path for number in range(len(rows))]
    assert names == sorted(names)
    assert names == [
        "a.tar/a.wav", "a.tar/b/c.wav", "long.flac/00000250-end", "long.flac/00001000-00001500",
        "long.flac/00001000-00001500~2", "nowhere", odd, "ö.wav",
    ]  # fmt: skip
    assert [listing.rows.number_of(name) for name in [*names, "z", "long.flac"]] == [*range(len(rows)), None, None]
    assert list(listing.rows.by_file(np.arange(len(rows)))) == [[0], [1], [2, 3, 4], [5], [6], [7]]
    assert list(listing.rows.by_file(np.array([4, 1, 2]))) == [[4, 2], [1]]
    assert listing.rows[0].within == Bytes(2048, 9, "a.wav")
    assert (listing.rows[4].split, listing.rows[5].fault, listing.rows[6].speaker) == ("dev", "has no audio", "s")
    assert listing.root == BASE


def test_files_elsewhere_have_the_innermost_folder_that_holds_them_all() -> None:
    names = ("/data/a/x.wav", "/data/a-b/y.wav", "/data/a/z/x.wav")
    listing = listing_of(BASE, "list", map(Found, names))
    assert listing.root == Path("/data")
    assert [listing.rows[number].file for number in range(3)] == ["a-b/y.wav", "a/x.wav", "a/z/x.wav"]
