"""What was measured of all rows of a listing, as columns: of millions of rows, objects would take gigabytes.

This module imports no torch: the worker processes of `prepare` start in a fraction of a second.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from snac_exp.data.files.levels import Levels
from snac_exp.data.files.listing import Listed, RowsListed
from snac_exp.data.files.scan import FileMeasurement

Int64Array = npt.NDArray[np.int64]

_LEVELS = [
    ("peak", "f8"),
    ("channel_peak", "f8"),
    ("peak_at", "i8"),
    ("finite", "?"),
    ("num_channels", "i4"),
    ("energy", "f8"),
    ("sum_energy", "f8"),
    ("num_over", "i8"),
]
_ROW = np.dtype(
    [
        ("known", "?"),
        ("size_bytes", "i8"),
        ("mtime_ns", "i8"),
        ("rate", "i4"),
        ("channels", "i4"),
        ("num_samples", "i8"),
        ("sha1", "S20"),  # as bytes; numpy leaves out zeros at the end
        ("levels", _LEVELS),
        ("is_segment", "?"),
        ("segment", [("start", "i8"), ("stop", "i8"), ("file_samples", "i8")]),
    ]
)
_WHOLE = (0, 0, 0)


class Measurements:
    """A measurement of each row, in the order of the rows, which is that of their paths; those to come are unknown."""

    def __init__(self, rows: RowsListed) -> None:
        self._rows = rows
        self._table = np.zeros(len(rows), _ROW)
        self._errors: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._table)

    def each(self, indexes: Int64Array) -> Iterator[tuple[Listed, FileMeasurement]]:
        """Some of the rows, in this order, and what was measured of each; of one that is unknown, of an empty file."""
        rows = self._rows.each(indexes)
        return ((row, self._measured(index, row)) for index, row in zip(map(int, indexes), rows, strict=True))

    def _measured(self, index: int, row: Listed) -> FileMeasurement:
        _, size_bytes, mtime_ns, rate, channels, num_samples, sha1, levels, is_segment, segment = self._table[
            index
        ].item()
        error = self._errors.get(index)
        return FileMeasurement(
            row.path,
            size_bytes,
            mtime_ns,
            error,
            rate,
            channels,
            num_samples,
            "" if error is not None else sha1.ljust(20, b"\0").hex(),
            Levels(*levels),
            row.asked,
            segment if is_segment else None,
        )

    def index(self, path: str) -> int | None:
        """Number of the row of a path; None where the listing has none."""
        return self._rows.number_of(path)

    def note(self, index: int, measured: FileMeasurement) -> None:
        """Remember what was measured of a row."""
        levels = tuple(getattr(measured.levels, name) for name, _ in _LEVELS)
        place = (measured.is_segment, measured.segment or _WHOLE)
        whole = (measured.size_bytes, measured.mtime_ns, measured.rate, measured.channels, measured.num_samples)
        self._table[index] = (True, *whole, bytes.fromhex(measured.sha1), levels, *place)
        self._errors.pop(index, None)
        if measured.error is not None:
            self._errors[index] = measured.error

    def forget(self, index: int) -> None:
        """What was measured of a row holds no longer."""
        self._table["known"][index] = False

    def unknown(self) -> Int64Array:
        """Numbers of the rows that are not measured."""
        return np.flatnonzero(~self._table["known"])

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Duration of every row; 0 of one that cannot be read."""
        rates = self._table["rate"]
        return np.where(rates > 0, self._table["num_samples"] / np.maximum(rates, 1), 0.0)

    @property
    def has_segments(self) -> bool:
        """Whether some row is a part of its file."""
        return bool(self._table["is_segment"].any())

    def extents(self, indexes: Int64Array) -> tuple[Int64Array, Int64Array]:
        """First sample of each of these rows in its file, and the one behind its last: (rows,) both."""
        some = self._table[indexes]
        return some["segment"]["start"], np.where(some["is_segment"], some["segment"]["stop"], some["num_samples"])

    def first_of_equal(self, indexes: Int64Array) -> Int64Array:
        """Of these rows, each the first among them that has its bytes, itself where it has none before."""
        digests = self._table["sha1"][indexes]
        order = np.argsort(digests, kind="stable")
        digests = digests[order]
        is_new = np.append(True, digests[1:] != digests[:-1])[: len(order)]
        del digests  # of millions, no more is kept than is needed
        firsts = np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))
        found = np.empty_like(indexes)
        found[order] = indexes[order[firsts]]
        return found
