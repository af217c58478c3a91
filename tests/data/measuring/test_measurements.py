"""Measurements kept as columns are what was noted."""

from collections.abc import Iterator

import numpy as np
import pytest

from snac_exp.data.files.levels import Levels
from snac_exp.data.files.listing import Listed, WholeFiles
from snac_exp.data.files.recording import Bytes
from snac_exp.data.files.scan import FileMeasurement
from snac_exp.data.measuring.measurements import Int64Array, Measurements

ROWS = [
    Listed("a", "shard.tar", Bytes(512, 1000, "a")),
    Listed("b", "long.wav", offset=1.5, duration=2.0),
    Listed("c", "c.wav"),
    Listed("d", "d.wav", channel=1),
]
NOTED = [
    FileMeasurement("a", 2048, 17, None, 16_000, 1, 900, "00" * 19 + "01", Levels(0.25, 0.5, 3), ROWS[0].asked),
    FileMeasurement(
        "b", 5, 6, None, 48_000, 2, 96_000, "ab" * 19 + "00", Levels(0.1, 0.2, 7, True, 2, 1e-3, 2e-3, 4),
        ROWS[1].asked, (72_000, 168_000, 2_000_000_000_000),
    ),
    FileMeasurement("c", -1, -1, error="no such file"),
    FileMeasurement("d", 9, 2**62, None, 8_000, 2, 10, "ab" * 20, Levels(finite=False), ROWS[3].asked),
]  # fmt: skip


class Rows(list[Listed]):
    """Rows that are a list."""

    def each(self, indexes: Int64Array) -> Iterator[Listed]:
        return (self[index] for index in indexes)


@pytest.fixture
def measurements() -> Measurements:
    found = Measurements(Rows(ROWS))
    for index, measured in enumerate(NOTED):
        found.note(index, measured)
    return found


def test_what_was_noted_comes_back_field_by_field(measurements: Measurements) -> None:
    assert list(measurements.each(np.arange(4))) == list(zip(ROWS, NOTED, strict=True))
    assert measurements.seconds.tolist() == [measured.seconds for measured in NOTED]


def test_rows_are_unknown_until_they_are_noted_and_once_they_are_forgotten(measurements: Measurements) -> None:
    assert Measurements(Rows(ROWS)).unknown().tolist() == [0, 1, 2, 3]
    measurements.forget(1)
    measurements.forget(3)
    assert measurements.unknown().tolist() == [1, 3]
    measurements.note(3, NOTED[3])
    assert measurements.unknown().tolist() == [1]


def test_an_error_that_is_gone_leaves_nothing_behind(measurements: Measurements) -> None:
    mended = FileMeasurement("c", 1, 2, None, 24_000, 1, 5, "cd" * 20, Levels(0.5, 0.5))
    measurements.note(2, mended)
    assert list(measurements.each(np.array([2]))) == [(ROWS[2], mended)]


def test_a_row_is_found_by_its_path() -> None:
    measurements = Measurements(WholeFiles(["a.wav", "b/a.wav", "b/c.wav"]))
    assert [measurements.index(path) for path in ("a.wav", "b/c.wav", "", "b/b.wav", "z")] == [0, 2, None, None, None]


def test_of_equal_bytes_the_first_is_named_and_zeros_at_the_end_count() -> None:
    digests = ["ab" * 20, "cd" * 20, "ab" * 20, "ab" * 19 + "00", "cd" * 20, "ab" * 18 + "0000"]
    measurements = Measurements(WholeFiles([f"{number}.wav" for number in range(len(digests))]))
    for index, sha1 in enumerate(digests):
        measurements.note(index, FileMeasurement(f"{index}.wav", 1, 1, None, 24_000, 1, 5, sha1))
    assert measurements.first_of_equal(np.arange(6)).tolist() == [0, 1, 0, 3, 1, 5]
    assert measurements.first_of_equal(np.array([2, 3, 4])).tolist() == [2, 3, 4]
