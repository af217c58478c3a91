"""Every row of a cache and its targets, one by one: what the preflight proves of a sample, of all.

A window of each row's codes, and its targets from the start on, as in the preflight. What was found of a row is written
down at once, so a check that is killed goes on where it was; rows that were bad are looked at again.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.slices.dataset import AlignedDataset, SliceDataset
from snac_exp.errors import DataError
from snac_exp.system.progress import progress_display
from snac_exp.training.codec.preflight.all_rows_record import CheckedRow, RowRecord
from snac_exp.training.codec.preflight.codes import (
    MEAN_AGREEMENT,
    ROW_AGREEMENT,
    EncodedWindow,
    cause_of,
    check_lengths,
    encode_window,
)
from snac_exp.training.codec.preflight.rows import NUM_NAMED
from snac_exp.training.codec.preflight.run import Preflight, split_datasets
from snac_exp.training.codec.preflight.targets import implausible, measure_delay, read_pair, wrong_place

NUM_WINDOWS_KEPT = 50  # of bad rows, among which the rightful place of a row's codes is looked for
UNREADABLE = -1.0  # score of a row that cannot be read: the worst
Look = Callable[[int], CheckedRow]


@dataclass
class RowCheck:
    """One proof of one split: how each row is looked at, and what came of it."""

    split: str
    proof: str
    dataset: AlignedDataset
    look: Look
    rows: list[int]
    bad: list[CheckedRow] = field(default_factory=list)
    num_known: int = 0
    total_score: float = 0.0

    @property
    def too_many_single_tokens(self) -> bool:
        """Whether codes differ a little in many rows, as of audio or a codec that changed since."""
        return self.proof == "codes" and self.total_score / len(self.rows) < MEAN_AGREEMENT

    def lines(self) -> list[str]:
        """The share of bad rows, and the worst of them."""
        share = len(self.bad) / len(self.rows)
        found = f"{len(self.bad):,} of {len(self.rows):,} rows are bad ({share:.2%})" if self.bad else "no row is bad"
        known = f", {self.num_known:,} known from before" if self.num_known else ""
        worst = sorted(self.bad, key=lambda row: row.score)[:NUM_NAMED]
        more = [f"  … and {len(self.bad) - len(worst)} more"] if len(self.bad) > len(worst) else []
        head = f"{self.split} {self.proof}: {found} (all {len(self.rows):,} rows{known})"
        mean = self.total_score / len(self.rows)
        many = (
            f"  only {mean:.2%} of all tokens are reproduced ({MEAN_AGREEMENT:.0%} expected): "
            "audio or codec changed since"
        )
        return [
            head,
            *(f"  {row.path}: {row.cause}" for row in worst),
            *more,
            *([many] if self.too_many_single_tokens else []),
        ]


def check_all_rows(preflight: Preflight, folder: Path, note: Callable[[str], None]) -> int:
    """Look at every row by the proofs `codes` and `targets`; returns how many looks found something bad.

    folder: where the record of an unfinished check lies. note: is told of each proof's share and worst rows.

    Raises:
        PreflightError: codes of a length that their audio does not have, told of before anything is read.
    """
    checks = list(_checks(preflight))
    with RowRecord.open(folder, record_key(preflight)) as record:
        for check in checks:
            _run(check, record)
            for line in check.lines():
                note(line)
        note(f"every row's score: {record.finish()}")
    return sum(len(check.bad) or int(check.too_many_single_tokens) for check in checks)


def record_key(preflight: Preflight) -> list[str]:
    """What the record of a check belongs to: codec, seed, and for each split its rows, codes and folders."""
    parts = [preflight.codec.fingerprint, str(preflight.seed), *sorted(preflight.proofs)]
    for _, dataset in split_datasets(preflight.splits):
        arrays: list[npt.NDArray[Any]] = [dataset.rows, dataset.num_samples, dataset.coarse_lengths]
        if isinstance(dataset, SliceDataset) and dataset.table.row_checksums is not None:
            arrays.append(dataset.table.row_checksums)
        parts += [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
        parts += [str(folders) for folders, _ in dataset.rows_by_folders()]
    return parts


def _checks(preflight: Preflight) -> Iterator[RowCheck]:
    for split, dataset in split_datasets(preflight.splits):
        rows = _distinct(dataset)
        if "codes" in preflight.proofs and isinstance(dataset, SliceDataset):
            check_lengths(dataset, split)
            yield RowCheck(split, "codes", dataset, _look_at_codes(preflight, dataset, split), rows)
        if "targets" in preflight.proofs and dataset.folders_of(rows[0]).targets is not None:
            for head, rate in preflight.task.model.rates.items():
                if rate != dataset.geometry.sampling_rate:
                    proof = f"targets of {head}"
                    yield RowCheck(split, proof, dataset, _look_at_target(dataset, split, proof, rate), rows)


def _distinct(dataset: AlignedDataset) -> list[int]:
    """Each row of the table once: mixed by weight, one may come several times."""
    return [int(row) for row in np.unique(dataset.rows, return_index=True)[1]]


def _look_at_codes(preflight: Preflight, dataset: SliceDataset, split: str) -> Look:
    codec: LoadedCodec = preflight.codec
    bad: list[EncodedWindow] = []

    def look(row: int) -> CheckedRow:
        window = encode_window(codec, dataset, row, preflight.seed)
        if window.agreement >= ROW_AGREEMENT:
            return CheckedRow(split, "codes", row, dataset.path(row), window.agreement)
        bad.append(window)
        del bad[:-NUM_WINDOWS_KEPT]
        cause = cause_of(window, bad, dataset)
        return CheckedRow(split, "codes", row, dataset.path(row), window.agreement, cause)

    return look


def _look_at_target(dataset: AlignedDataset, split: str, proof: str, rate: int) -> Look:
    def look(row: int) -> CheckedRow:
        source, target = read_pair(dataset, row, rate)
        cause, score = implausible(source, target), UNREADABLE
        if cause is None:
            delay = measure_delay(source, target)
            cause, score = wrong_place(delay), -abs(delay.seconds)
        return CheckedRow(split, proof, row, dataset.path(row), score, cause)

    return look


def _run(check: RowCheck, record: RowRecord) -> None:
    """Look at the rows that are not known to be good, with the number of bad ones and the time that is left."""
    known = record.good(check.split, check.proof)
    left = [row for row in check.rows if row not in known]
    check.num_known = len(check.rows) - len(left)
    check.total_score = sum(known[row] for row in check.rows if row in known)
    begun = time.monotonic()
    with progress_display(f"{check.split} {check.proof}", len(left)) as advance:
        for number, row in enumerate(left, start=1):
            try:
                found = check.look(row)
            except DataError as error:
                found = CheckedRow(check.split, check.proof, row, check.dataset.path(row), UNREADABLE, str(error))
            record.write(found)
            check.total_score += found.score
            if found.cause is not None:
                check.bad.append(found)
            seconds = (time.monotonic() - begun) / number * (len(left) - number)
            advance(1, f"{len(check.bad)} bad, about {_duration(seconds)} left")


def _duration(seconds: float) -> str:
    """In the unit that suits it."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
