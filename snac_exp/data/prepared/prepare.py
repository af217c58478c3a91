"""From a source of audio to a manifest: every row is measured and put into a split, or listed as rejected."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from snac_exp.data.files.listing import Listed, Listing
from snac_exp.data.files.recording import Segment
from snac_exp.data.files.scan import FileMeasurement
from snac_exp.data.measuring.measurements import Int64Array, Measurements
from snac_exp.data.measuring.measuring import measure_all
from snac_exp.data.prepared.manifest import MANIFEST_NAME, REJECTED_NAME, read_manifest_table, write_rows
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.prepared.overlaps import overlaps_line
from snac_exp.data.prepared.parts import Parts, Usable, refuse_indivisible, split_rows
from snac_exp.data.prepared.places import PLACE_SCHEMA, Place, stays_below
from snac_exp.data.prepared.settings import PrepareSettings
from snac_exp.data.prepared.split import given_split
from snac_exp.data.rejection import Rejection, count_kinds, counts_line, reason_lines, write_rejections
from snac_exp.data.sources.opening import SourceOptions, open_source, source_name
from snac_exp.errors import DataError
from snac_exp.system.files import remove_left
from snac_exp.system.folder_lock import locked

REASONS_SHOWN = 3  # of rejected files; all of them are listed
_NOTHING_WRONG = ("split", "duplicate")
_COMMIT = "hub.commit"  # among the settings of a manifest


@dataclass(frozen=True)
class PrepareSummary:
    """What came of a source. `rejected` counts files by kind; seconds and speakers are those of each split.

    told: lines about how the source was read, and the first of the rejected files with their reasons.
    """

    output_dir: Path
    num_files: int
    num_known: int
    num_rows: dict[str, int]
    seconds: dict[str, float]
    num_speakers: dict[str, int]
    rejected: dict[str, int]
    told: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))

    @property
    def lines(self) -> list[str]:
        """The summary for people."""
        splits = [
            f"{split}: {num} utterances, {self.seconds[split] / 60:.1f} minutes, speakers: {self.num_speakers[split]}"
            for split, num in self.num_rows.items()
        ]
        read = (
            f"{self.num_files} utterances found, {self.num_files - self.num_known} read, "
            f"{self.num_known} known from before"
        )
        before, behind = self.told
        return [*before, read, *splits, counts_line(self.rejected, self.output_dir / REJECTED_NAME), *behind]


def prepare(
    source: Path | str,
    output_dir: Path | str,
    *,
    options: SourceOptions | None = None,
    split: Literal["speaker", "file", "given"] = "speaker",
    speaker_level: int | None = None,
    train_ratio: float = 0.95,
    seed: int = 0,
    min_seconds: float = 0.25,
    silence_db: float = -80.0,
    validation_speakers: Sequence[str] | None = None,
    max_peak: float = 16.0,
    min_mix: float = 0.2,
    num_workers: int | None = None,
) -> PrepareSummary:
    """Measure all audio of a source and write manifest.parquet and rejected.parquet to `output_dir`.

    source, options: see `open_source`. num_workers: processes, null = one per core. The others: see `PrepareSettings`.
    Of files with equal bytes the first by path is used, so no recording is in both splits.
    Can be repeated: files of equal size and time are not read again. Raises DataError if nothing is usable, or if
    `output_dir` holds the manifest of another source or other settings.
    """
    patterns = tuple(validation_speakers) if validation_speakers else None
    settings = PrepareSettings(
        split, speaker_level, train_ratio, seed, min_seconds, silence_db, patterns, max_peak, min_mix
    )
    settings.check()
    options, output_dir, name = options or SourceOptions(), Path(output_dir).expanduser(), source_name(str(source))
    # Before measuring, which may take hours.
    _refuse_other_output(output_dir, name, settings, options)
    output_dir.mkdir(parents=True, exist_ok=True)
    with locked(output_dir):  # two commands would write a list each of the manifest and of what it rejects
        _refuse_other_output(output_dir, name, settings, options)
        listing = open_source(name, options, output_dir.resolve())
        refuse_indivisible(listing, settings)
        remove_left(output_dir.glob(".*.tmp"))  # not below: the codes there have a command of their own
        measurements, num_known = measure_all(listing, output_dir, num_workers)
        usable, rejected = _usable(measurements, settings, listing)
        parts = split_rows(usable.indexes, usable.seconds, settings, listing)
        # The manifest last: where there is one, the list of rejected files is there too.
        write_rejections(output_dir / REJECTED_NAME, rejected)
        _write_manifest(output_dir / MANIFEST_NAME, usable, parts, listing, settings, options)
        told = (
            [*listing.told, *_splits_left(listing, settings)],
            [*_first_reasons(rejected), *overlaps_line(usable, parts, listing)],
        )
        return replace(_summary(output_dir, len(measurements), num_known, usable, parts, rejected), told=told)


def _write_manifest(
    path: Path, usable: Usable, parts: Parts, listing: Listing, settings: PrepareSettings, options: SourceOptions
) -> None:
    # As ever for a folder of files, whose input is the folder below which they lie.
    origin = {} if listing.more is None else {"input": listing.input, **options.to_json(), **_commit(listing)}
    more = pa.schema([]) if listing.more is None else pa.schema([*PLACE_SCHEMA, *listing.more])
    write_rows(path, _rows(usable, parts, listing), listing.root, {**settings.to_json(), **origin}, more)


def _refuse_other_output(output_dir: Path, name: str, settings: PrepareSettings, options: SourceOptions) -> None:
    if not (output_dir / MANIFEST_NAME).exists():
        return
    _, header = read_manifest_table(output_dir)
    now = {"input": name, **settings.to_json(), **options.to_json()}
    # A setting that is younger than the manifest was what it is by default.
    then = {"input": header["input_dir"], **PrepareSettings().to_json(), **header["settings"]}
    then.pop(_COMMIT, None)  # found, not asked for
    changed = [f"{key} was {then.get(key)}, is {now.get(key)}" for key in now | then if then.get(key) != now.get(key)]
    if changed:
        known = (
            ""
            if now["input"] != then["input"]
            else (f", or delete its {MANIFEST_NAME}: what was measured is not measured again")
        )
        raise DataError(
            f"{output_dir}: holds a manifest made with other settings ({'; '.join(changed)}); choose another output "
            f"folder{known}"
        )


def _commit(listing: Listing) -> dict[str, str]:
    return {} if listing.commit is None else {_COMMIT: listing.commit}


def _usable(measurements: Measurements, settings: PrepareSettings, listing: Listing) -> tuple[Usable, list[Rejection]]:
    """Usable rows and rejected ones, the latter with the first reason that holds.

    Raises:
        DataError: there are none.
    """
    verdicts: dict[int, tuple[str, str]] = {}
    for index, (_, measured) in enumerate(measurements.each(np.arange(len(measurements)))):
        if (verdict := _verdict(measured, settings)) is not None:
            verdicts[index] = verdict
    left = _all_but(verdicts, len(measurements))
    # In the order of paths, so of equal files the first one is kept.
    first = measurements.first_of_equal(left)
    for index, original in zip(left[left != first].tolist(), first[left != first].tolist(), strict=True):
        verdicts[index] = "duplicate", f"duplicate of {listing.rows[original].path}"
    rejected = [Rejection(_printable(listing.rows[index].path), *verdicts[index]) for index in sorted(verdicts)]
    usable = left[left == first]
    if settings.split == "given":
        usable = _of_given_splits(usable, listing, rejected)
    if not len(usable):
        kinds = ", ".join(f"{kind} {num}" for kind, num in count_kinds(rejected).items())
        raise DataError(
            f"{listing.input}: none of {len(rejected)} files is usable ({kinds}), "
            f"first: {rejected[0].path}: {rejected[0].reason}"
        )
    return Usable(usable, measurements), rejected


def _all_but(some: Iterable[int], num: int) -> Int64Array:
    is_left = np.ones(num, bool)
    is_left[list(some)] = False
    return np.flatnonzero(is_left)


def _verdict(measured: FileMeasurement, settings: PrepareSettings) -> tuple[str, str] | None:
    # First: columns of Parquet hold UTF-8 only, so such a path can be listed in this form alone.
    if _printable(measured.path) != measured.path:
        return "file_name", "the name is not valid UTF-8; rename the file"
    if not stays_below(measured.path):
        return "file_name", "the name has '..' among its folders; rename it where it lies"
    if measured.error is not None:
        return "unreadable", measured.error
    if measured.num_samples == 0:
        return "empty", "no samples"
    if (problem := measured.levels.problem(settings.limits)) is not None:
        return problem
    if measured.seconds < settings.min_seconds:
        return "too_short", f"{measured.seconds:.4f} s, less than min_seconds={settings.min_seconds}"
    if measured.peak < 10 ** (settings.silence_db / 20):
        return "silent", f"peak of the mono mix {measured.peak:.2e}, below silence_db={settings.silence_db}"
    return None


def _printable(path: str) -> str:
    """The path itself, or with escapes where its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _of_given_splits(usable: Int64Array, listing: Listing, rejected: list[Rejection]) -> Int64Array:
    """Those whose source says that they train or validate; others, as of a test split, are rejected."""
    kept = []
    for index, row in zip(map(int, usable), listing.rows.each(usable), strict=True):
        if given_split(row.split) is not None:
            kept.append(index)
        else:
            what = (
                "its source names no split"
                if row.split is None
                else f"of split {row.split}, which neither trains nor validates"
            )
            rejected.append(Rejection(row.path, "split", what))
    return np.array(kept, np.int64)


def _rows(usable: Usable, parts: Parts, listing: Listing) -> Iterator[ManifestRow]:
    """The manifest's, made one by one."""
    each = usable.measurements.each(usable.indexes)
    for (listed, measured), speaker, validates in zip(each, parts.speakers, parts.validates, strict=True):
        row = _row(measured, "validation" if validates else "train", parts.names[speaker])
        yield row if listing.more is None else _placed(row, measured, listed)


def _placed(row: ManifestRow, measured: FileMeasurement, listed: Listed) -> ManifestRow:
    segment = None if measured.segment is None else Segment(*measured.segment)
    return replace(row, placed=Place(listed.file, listed.within, segment), columns=listed.columns)


def _row(measured: FileMeasurement, split: str, speaker: str) -> ManifestRow:
    return ManifestRow(
        path=measured.path,
        split=split,
        speaker=speaker,
        seconds=measured.seconds,
        rate=measured.rate,
        channels=measured.channels,
        num_samples=measured.num_samples,
        sha1=measured.sha1,
        peak=measured.peak,
    )


def _splits_left(listing: Listing, settings: PrepareSettings) -> list[str]:
    """A line where the source has splits and others are drawn: what it keeps for tests would train."""
    if settings.split == "given" or not (found := listing.rows.splits()):
        return []
    counts = ", ".join(f"{name} {num}" for name, num in found.items())
    return [f"the source's own splits ({counts}) are left aside, all rows are drawn from; split=given keeps to them"]


def _first_reasons(rejected: list[Rejection]) -> list[str]:
    """Of files that somebody may want to mend."""
    found = [item for item in rejected if item.kind not in _NOTHING_WRONG]
    more = [f"  and {len(found) - REASONS_SHOWN} more"] if len(found) > REASONS_SHOWN else []
    return reason_lines(found[:REASONS_SHOWN]) + more


def _summary(
    output_dir: Path, num_files: int, num_known: int, usable: Usable, parts: Parts, rejected: list[Rejection]
) -> PrepareSummary:
    of_split = {"train": ~parts.validates, "validation": parts.validates}
    return PrepareSummary(
        output_dir=output_dir,
        num_files=num_files,
        num_known=num_known,
        num_rows={split: int(rows.sum()) for split, rows in of_split.items()},
        seconds={split: sum(map(float, usable.seconds[rows])) for split, rows in of_split.items()},
        num_speakers={split: len(np.unique(parts.speakers[rows])) for split, rows in of_split.items()},
        rejected=count_kinds(rejected),
    )
