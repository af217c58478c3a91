"""Whether rows of ids are what a trainer and a decoder expect: every row of every file, and the files themselves."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snac_exp.data.rejection import Rejection, reason_lines
from snac_exp.data.tokens.check import entropy_bits
from snac_exp.data.tokens.rows.files import TokenRow, read_rows
from snac_exp.data.tokens.rows.spoken import files_of, name_of, samples_of, split_of, unlisted
from snac_exp.errors import DataError
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.streams import read_ids
from snac_exp.system.progress import progress_display

IGNORED_LABEL = -100  # what trainers do not score


@dataclass(frozen=True)
class RowsReport:
    """Rows that can be used by split, seconds of their audio, counts[i] (V,) of the tokens of codebook i, ids of the
    longest row, and what is wrong: rows and files."""

    layout: Layout
    rows: dict[str, int]
    seconds: float
    counts: tuple[npt.NDArray[np.int64], ...]
    longest: int
    rejected: tuple[Rejection, ...]

    @property
    def lines(self) -> list[str]:
        """The report for people."""
        splits = ", ".join(f"{num} {split}" for split, num in sorted(self.rows.items())) or "none"
        found = [
            f"{sum(self.rows.values())} usable rows ({splits}) of layout {self.layout.name} on codec "
            f"{self.layout.codec_name}, {self.seconds / 60:.1f} minutes, the longest has {self.longest} ids"
        ]
        for codebook, counts in enumerate(self.counts):
            used = int((counts > 0).sum())
            found.append(
                f"  codebook {codebook}: {used} of {len(counts)} tokens in use, {entropy_bits(counts):.2f} bits"
            )
        return [*found, f"{len(self.rejected)} rows or files cannot be used", *reason_lines(self.rejected)]


def check_rows(source: Path, layout: Layout) -> RowsReport:
    """Read every row of a file or folder; what cannot be used is listed, and the rest is counted.

    Raises:
        DataError: there is no file of rows, or an export.json that is damaged.
    """
    files, found = files_of(source), _Found(layout)
    if source.is_dir():
        found.rejected += [Rejection(name, "unlisted", problem) for name, problem in unlisted(source).items()]
    with progress_display("tokens check", len(files)) as advance:
        for path in files:
            found.add_file(path)
            advance(1, path.name)
    seconds = found.num_samples / layout.geometry.sampling_rate
    return RowsReport(layout, dict(found.rows), seconds, found.counts, found.longest, tuple(found.rejected))


class _Found:
    """What rows were seen so far."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.rows, self.num_samples, self.longest = layout, Counter[str](), 0, 0
        self.counts = tuple(np.zeros(layout.places[0].size, np.int64) for _ in layout.geometry.vq_strides)
        self.rejected: list[Rejection] = []
        self._names = set[str]()

    def add_file(self, path: Path) -> None:
        """All rows of a file, as far as it can be read."""
        rows, number = read_rows(path, self.layout), 0
        while True:
            try:
                row = next(rows, None)
            except DataError as error:  # names the row, and behind it nothing can be read
                self.rejected.append(Rejection(path.name, "damaged", str(error)))
                return
            if row is None:
                return
            try:
                self._add(row, split_of(path))
            except DataError as error:
                self.rejected.append(Rejection(f"{path.name}, row {number}", "unusable", str(error)))
            number += 1

    def _add(self, row: TokenRow, split: str) -> None:
        name = name_of(row, len(self._names))
        if name in self._names:
            raise DataError(f"{name} comes twice")
        self._names.add(name)
        _require_equal_length(row)
        reading = read_ids([row.input_ids], self.layout)
        self.num_samples += samples_of(row, reading, "strict")
        self.rows[split] += 1
        self.longest = max(self.longest, len(row.input_ids))
        for sums, codes in zip(self.counts, reading.codes, strict=True):
            sums += np.bincount(codes, minlength=len(sums))


def _require_equal_length(row: TokenRow) -> None:
    """What a trainer takes together: a label and a mask for every id."""
    for name, values in (("labels", row.labels), ("attention_mask", row.attention_mask)):
        if values is not None and len(values) != len(row.input_ids):
            raise DataError(f"{name} has {len(values)} values for {len(row.input_ids)} ids")
    for position, (label, value) in enumerate(zip(row.labels or (), row.input_ids, strict=False)):
        if label not in (value, IGNORED_LABEL):
            raise DataError(f"position {position}: label {label} is neither the id there, {value}, nor {IGNORED_LABEL}")
