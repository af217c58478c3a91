"""Which rows go into which file of an export, and what is left out: known before anything is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snac_exp.data.rejection import Rejection
from snac_exp.data.tokens.rows.options import ExportOptions
from snac_exp.data.tokens.rows.utterances import Piece, Utterances
from snac_exp.errors import DataError
from snac_exp.system.progress import progress_display

_FIELDS = ("row", "start", "end", "part", "whole")  # of a piece, as columns


@dataclass(frozen=True)
class Counts:
    """What became of the utterances of a cache. Seconds are of audio."""

    utterances: int = 0
    rows: int = 0
    seconds: float = 0.0
    split: int = 0
    dropped: int = 0
    dropped_seconds: float = 0.0
    repeated_frames: int = 0
    repeated_seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """splits: name -> its files, relative to the folder of the export. files: name -> its pieces, columns (n, 5) as in
    `Piece`. rejected: what is left out, and why."""

    splits: dict[str, list[str]]
    files: dict[str, npt.NDArray[np.int64]]
    rejected: list[Rejection]
    counts: Counts

    def pieces(self, name: str) -> Iterator[Piece]:
        """Of one file, in order."""
        return (Piece(row, start, end, part, bool(whole)) for row, start, end, part, whole in self.files[name].tolist())


def make_plan(utterances: Utterances) -> Plan:
    """Go through all utterances; DataError if none is left."""
    table, options = utterances.table, utterances.options
    splits: dict[str, list[str]] = {}
    files: dict[str, npt.NDArray[np.int64]] = {}
    rejected: list[Rejection] = []
    totals = dict.fromkeys(vars(Counts()), 0)
    with progress_display("tokens export, plan", len(table)) as advance:
        for split in sorted(set(table.splits.to_pylist())):
            pieces: list[Piece] = []
            for row in table.rows_of(split).tolist():
                found = utterances.pieces(row)
                rejected += [found] if isinstance(found, Rejection) else []
                pieces += [] if isinstance(found, Rejection) else found
                _count(totals, utterances, row, found)
                advance(1, "")
            found_files = _files(split, pieces, options)
            files |= found_files
            splits |= {split: list(found_files)} if found_files else {}
    if not files:
        shortest = min(map(utterances.length, range(len(table))))
        raise DataError(
            f"all {len(table)} utterances are longer than max_tokens={options.max_tokens}, the shortest has {shortest} "
            "ids; raise it"
        )
    return Plan(splits, files, rejected, _counts(totals, table.spec.sampling_rate))


def _files(split: str, pieces: list[Piece], options: ExportOptions) -> dict[str, npt.NDArray[np.int64]]:
    most = options.rows_per_shard
    num = -(-len(pieces) // most)
    # A folder of the datasets library has one for each split.
    start, suffix = (f"{split}/data", "arrow") if options.format == "hf" else (split, options.format)
    columns = np.array([[getattr(piece, name) for name in _FIELDS] for piece in pieces], np.int64)
    parts = [columns[first : first + most] for first in range(0, len(pieces), most)]
    return {f"{start}-{i:05d}-of-{num:05d}.{suffix}": part for i, part in enumerate(parts)}


def _count(totals: dict[str, int], utterances: Utterances, row: int, found: list[Piece] | Rejection) -> None:
    """Seconds are samples at the codec's rate here."""
    samples = int(utterances.table.num_samples[row])
    totals["utterances"] += 1
    if isinstance(found, Rejection):
        totals["dropped"] += 1
        totals["dropped_seconds"] += samples
        return
    left = sum(map(utterances.num_samples, found))
    totals["rows"] += len(found)
    totals["seconds"] += left
    totals["split"] += len(found) > 1
    totals["repeated_frames"] += int((~utterances.kept(row)).sum())
    totals["repeated_seconds"] += samples - left


def _counts(totals: dict[str, int], rate: int) -> Counts:
    values: dict[str, Any] = {name: num / rate if name.endswith("seconds") else num for name, num in totals.items()}
    return Counts(**values)
