"""A folder of targets: one file per manifest row, under the same relative path, where data.target_dir looks.

Every file is whole or absent and has exactly the length of its source, so an interrupted run goes on where it was, and
what cannot be made is listed with its reason. What the folder holds is said in its targets.json; another kind or model
is refused there.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, Literal

import numpy as np
import soundfile

from snac_exp.data.files.decoding import Float32Array
from snac_exp.data.files.reading import audio_info
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.prepared.places import safe_join
from snac_exp.data.rejection import Rejection, count_kinds, counts_line, read_rejections, write_rejections
from snac_exp.data.shares import require_share
from snac_exp.data.targets.names import SETTINGS_NAME
from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path, read_json, remove_left_in, write_signed_json

REJECTED_NAME = "rejected_targets-{index:02d}-of-{count:02d}.parquet"
REJECTED_PATTERN = "rejected_targets-*.parquet"

Format = Literal["flac", "wav"]
SUBTYPES = {"flac": "PCM_24", "wav": "FLOAT"}  # FLAC has no floats


@dataclass(frozen=True)
class TargetSummary:
    """What one call did with its rows: targets made, kept from before, clipped (they are there), rejected by kind."""

    output_dir: Path
    num_made: int
    num_kept: int
    num_clipped: int
    rejected: dict[str, int]

    @property
    def num_rejected(self) -> int:
        """Rows without a target."""
        return sum(self.rejected.values())

    @property
    def lines(self) -> list[str]:
        """The summary for people."""
        lines = [f"{self.num_made} targets made, {self.num_kept} there already, in {self.output_dir}"]
        if self.num_clipped:
            lines.append(f"{self.num_clipped} went above full scale and were clipped; format=wav keeps them")
        return [*lines, counts_line(self.rejected, self.output_dir / REJECTED_PATTERN)]


class TargetFolder:
    """The output of one kind of targets: what is there, what is missing, what was rejected.

    Raises DataError if the folder holds targets of another kind, or if two rows would have the same target file.
    """

    def __init__(
        self,
        manifest: Manifest,
        output_dir: Path,
        rate: int,
        file_format: Format,
        settings: dict[str, Any],
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        if file_format not in SUBTYPES:
            raise DataError(f"format={file_format} is not valid; choose one of: {', '.join(SUBTYPES)}")
        self.manifest, self.output_dir, self.rate, self.format = manifest, output_dir, rate, file_format
        self.settings = {**settings, "rate": rate, "source": str(manifest.input_dir)}
        self.rows = share_of(manifest.rows, *shard)
        self._rejected_name = REJECTED_NAME.format(index=shard[0], count=shard[1])
        self._lock = Lock()  # of the counts, as `keep` runs in several threads
        self.num_made = self.num_kept = self.num_clipped = 0
        self.rejected: dict[str, Rejection] = {}
        self._refuse_shared_names()

    def begin(self, retry_rejected: bool) -> list[ManifestRow]:
        """The rows of this part that still need work; rejected ones stay so unless they are to be tried again."""
        self._refuse_foreign()
        remove_left_in(self.output_dir)
        known = {row.path: row for row in self._read_rejected()}
        todo = []
        for row in self.rows:
            if self._there(row):
                self.num_kept += 1
            elif row.path in known and not retry_rejected:
                self.rejected[row.path] = known[row.path]
            else:
                todo.append(row)
        return todo

    def keep(self, row: ManifestRow, result: Float32Array | Rejection) -> None:
        """Write a target (num,) atomically, or remember why there is none. May be called from several threads."""
        # A target of another length than its source is out of step with the codes.
        if not isinstance(result, Rejection) and len(result) != (expected := self.num_samples(row)):
            result = Rejection(row.path, "length", f"{len(result)} samples came out, {expected} were expected")
        if not isinstance(result, Rejection) and not np.isfinite(result).all():
            result = Rejection(row.path, "not_finite", "the target holds NaN or infinity")
        if isinstance(result, Rejection):
            self.rejected[row.path] = result
            return
        # The writer would clip to full scale without a word; here it is counted.
        clipped = self.format == "flac" and float(np.abs(result).max(initial=0.0)) > 1.0
        result = np.clip(result, -1.0, 1.0) if clipped else result
        with atomic_path(self.file(row)) as temporary:
            # The temporary name ends in .tmp, so it cannot tell the format.
            soundfile.write(
                os.fsencode(temporary), result, self.rate, format=self.format.upper(), subtype=SUBTYPES[self.format]
            )
        with self._lock:
            self.num_made += 1
            self.num_clipped += clipped

    def finish(self) -> TargetSummary:
        """Write the list of this part's rejected rows."""
        # In the manifest's order, whatever order threads came in.
        rejected = [self.rejected[row.path] for row in self.rows if row.path in self.rejected]
        write_rejections(self.output_dir / self._rejected_name, rejected)
        kinds = count_kinds(rejected)
        return TargetSummary(self.output_dir, self.num_made, self.num_kept, self.num_clipped, kinds)

    def file(self, row: ManifestRow) -> Path:
        """The target of a row: its relative path with the format's suffix."""
        return safe_join(self.output_dir, row.path).with_suffix(f".{self.format}")

    def num_samples(self, row: ManifestRow) -> int:
        """Samples the target of a row must have: round(N * rate / source rate)."""
        # In whole numbers, exact at any length; halves round up.
        return (2 * row.num_samples * self.rate + row.rate) // (2 * row.rate)

    def _there(self, row: ManifestRow) -> bool:
        path = self.file(row)
        if not path.exists():
            return False
        # One of another rate or length, as of an older manifest, is made again.
        info = audio_info(path)
        return (info.rate, info.num_samples) == (self.rate, self.num_samples(row))

    def _refuse_foreign(self) -> None:
        path = self.output_dir / SETTINGS_NAME
        if path.exists():
            found = _read_settings(path)
            changed = [f"{key} was {found.get(key)}" for key, value in self.settings.items() if found.get(key) != value]
            if changed:
                raise DataError(f"{path}: other targets lie there ({', '.join(changed)}); choose another output folder")
        else:
            write_signed_json(path, self.settings)

    def _refuse_shared_names(self) -> None:
        # The target's suffix takes the place of the source's: a.wav and a.mp3 would both become a.flac.
        first: dict[PurePosixPath, str] = {}
        for row in self.manifest.rows:
            stem = PurePosixPath(row.path).with_suffix("")
            if stem in first:
                raise DataError(f"{first[stem]} and {row.path} would share one target file; rename one of them")
            first[stem] = row.path

    def _read_rejected(self) -> list[Rejection]:
        """Of all parts, however many processes there were last time."""
        files = sorted(self.output_dir.glob(REJECTED_PATTERN))
        return [row for path in files for row in read_rejections(path)]


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
        if isinstance(found, dict):
            return found
        problem = "it holds no object"
    except (OSError, ValueError) as error:
        problem = str(error)
    raise DataError(f"{path}: damaged ({problem}); delete it if you know what targets lie there, else their folder")


def share_of(rows: Sequence[ManifestRow], index: int, count: int) -> list[ManifestRow]:
    """Every count-th row from `index` on, so that several processes divide the work evenly."""
    require_share(index, count)
    return list(rows[index::count])
