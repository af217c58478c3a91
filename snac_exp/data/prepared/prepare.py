"""From a source of audio to a manifest: every row is measured and put into a split, or listed as rejected."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa

from snac_exp.data.files.listing import Listed, Listing
from snac_exp.data.files.measuring import measure_all
from snac_exp.data.files.recording import Segment
from snac_exp.data.files.scan import FileMeasurement
from snac_exp.data.prepared.manifest import (
    MANIFEST_NAME,
    REJECTED_NAME,
    Manifest,
    ManifestRow,
    read_manifest_table,
)
from snac_exp.data.prepared.places import PLACE_SCHEMA, Place, stays_below
from snac_exp.data.prepared.settings import PrepareSettings
from snac_exp.data.prepared.split import draw_validation, given_split, match_speakers, speaker_of
from snac_exp.data.rejection import Rejection, count_kinds, counts_line, write_rejections
from snac_exp.data.sources.opening import SourceOptions, open_source, source_name
from snac_exp.errors import DataError
from snac_exp.system.files import remove_left
from snac_exp.system.folder_lock import locked


@dataclass(frozen=True)
class PrepareSummary:
    """What came of a source. `rejected` counts files by kind; seconds and speakers are those of each split."""

    output_dir: Path
    num_files: int
    num_known: int
    num_rows: dict[str, int]
    seconds: dict[str, float]
    num_speakers: dict[str, int]
    rejected: dict[str, int]

    @property
    def lines(self) -> list[str]:
        """The summary for people."""
        splits = [
            f"{split}: {num} files, {self.seconds[split] / 60:.1f} minutes, {self.num_speakers[split]} speakers"
            for split, num in self.num_rows.items()
        ]
        read = (
            f"{self.num_files} files found, {self.num_files - self.num_known} read, {self.num_known} known from before"
        )
        return [read, *splits, counts_line(self.rejected, self.output_dir / REJECTED_NAME)]


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

    source, options: see `open_source`. split: "speaker" keeps whole speakers together, as the source names them, or a
    speaker being the folder that holds the files (`speaker_level` null) or the first `speaker_level` folders below the
    input; set it to 1 where speakers have folders of chapters. "file" draws single rows, "given" takes the
    source's own splits. train_ratio counts seconds.
    validation_speakers: shell patterns of the speakers that validate, instead of a draw. silence_db: a file whose mono
    peak lies below it (dB of full scale) is silent. max_peak, min_mix: see `Limits`. num_workers: processes, null = one
    per core.
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
        _refuse_indivisible(listing, settings)
        remove_left(output_dir.glob(".*.tmp"))  # not below: the codes there have a command of their own
        measurements, num_known = measure_all(listing, output_dir, num_workers)
        usable, rejected = _separated(measurements, settings)
        rows = _split(usable, settings, listing, rejected)
        # As ever for a folder of files, whose input is the folder below which they lie.
        origin = {} if listing.more is None else {"input": name, **options.to_json()}
        # The manifest last: where there is one, the list of rejected files is there too.
        write_rejections(output_dir / REJECTED_NAME, rejected)
        more = pa.schema([]) if listing.more is None else pa.schema([*PLACE_SCHEMA, *listing.more])
        Manifest(listing.root, {**settings.to_json(), **origin}, rows, more).write(output_dir / MANIFEST_NAME)
        return _summary(output_dir, len(measurements), num_known, rows, rejected)


def _refuse_other_output(output_dir: Path, name: str, settings: PrepareSettings, options: SourceOptions) -> None:
    if not (output_dir / MANIFEST_NAME).exists():
        return
    _, header = read_manifest_table(output_dir)
    now = {"input": name, **settings.to_json(), **options.to_json()}
    # A setting that is younger than the manifest was what it is by default.
    then = {"input": header["input_dir"], **PrepareSettings().to_json(), **header["settings"]}
    changed = [f"{key} was {then.get(key)}, is {now.get(key)}" for key in now | then if then.get(key) != now.get(key)]
    if changed:
        raise DataError(
            f"{output_dir}: holds a manifest made otherwise ({'; '.join(changed)}); choose another output folder"
        )


def _separated(
    measurements: list[FileMeasurement], settings: PrepareSettings
) -> tuple[list[FileMeasurement], list[Rejection]]:
    """Usable files and rejected ones, the latter with the first reason that holds."""
    usable: dict[str, FileMeasurement] = {}
    rejected = []
    # In the order of paths, so of equal files the first one is kept.
    for measured in measurements:
        verdict = _verdict(measured, settings)
        if verdict is None and measured.sha1 in usable:
            verdict = ("duplicate", f"duplicate of {usable[measured.sha1].path}")
        if verdict is None:
            usable[measured.sha1] = measured
        else:
            rejected.append(Rejection(_printable(measured.path), *verdict))
    return list(usable.values()), rejected


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


def _split(
    usable: list[FileMeasurement], settings: PrepareSettings, listing: Listing, rejected: list[Rejection]
) -> list[ManifestRow]:
    listed = {row.path: row for row in listing.rows}
    if settings.split == "given":
        usable = _of_given_splits(usable, listed, rejected)
    if not usable:
        kinds = ", ".join(f"{kind} {num}" for kind, num in count_kinds(rejected).items())
        raise DataError(
            f"{listing.input}: none of {len(rejected)} files is usable ({kinds}), "
            f"first: {rejected[0].path}: {rejected[0].reason}"
        )
    speakers = _speakers([listed[measured.path] for measured in usable], settings)
    validation = _validating({measured.path: measured.seconds for measured in usable}, listed, speakers, settings)
    rows = []
    for measured in usable:
        row = _row(measured, "validation" if measured.path in validation else "train", speakers[measured.path])
        rows.append(row if listing.more is None else _placed(row, measured, listed[measured.path]))
    return rows


def _refuse_indivisible(listing: Listing, settings: PrepareSettings) -> None:
    """The errors of `_validating` that are certain before anything is measured, which may take hours."""
    given = settings.split == "given"
    rows = [row for row in listing.rows if not given or given_split(row.split) is not None]
    if len(rows) < 2:  # measured at once, and what is wrong with a single file says more
        return
    seconds = dict.fromkeys((row.path for row in rows), 1.0)
    _validating(seconds, {row.path: row for row in rows}, _speakers(rows, settings), settings)


def _speakers(rows: Iterable[Listed], settings: PrepareSettings) -> dict[str, str]:
    return {row.path: row.speaker or speaker_of(row.file, settings.speaker_level) for row in rows}


def _of_given_splits(
    usable: list[FileMeasurement], listed: Mapping[str, Listed], rejected: list[Rejection]
) -> list[FileMeasurement]:
    """Those whose source says that they train or validate; others, as of a test split, are rejected."""
    kept = []
    for measured in usable:
        name = listed[measured.path].split
        if given_split(name) is not None:
            kept.append(measured)
        else:
            what = (
                "its source names no split" if name is None else f"of split {name}, which neither trains nor validates"
            )
            rejected.append(Rejection(measured.path, "split", what))
    return kept


def _validating(
    seconds: Mapping[str, float], listed: Mapping[str, Listed], speakers: Mapping[str, str], settings: PrepareSettings
) -> set[str]:
    """Paths of the rows that validate, by the seconds of all."""
    if settings.split == "given":
        validation = {path for path in seconds if given_split(listed[path].split) == "validation"}
        if not 0 < len(validation) < len(seconds):
            missing = "trains" if validation else "validates"
            raise DataError(f"split=given: no row of the source {missing}; draw them with split=speaker or split=file")
        return validation
    # Named speakers go to validation whole, whatever `split` says.
    by_speaker = settings.split == "speaker" or settings.validation_speakers is not None
    groups = speakers if by_speaker else {path: path for path in seconds}
    sums: Counter[str] = Counter()
    for path, value in seconds.items():
        sums[groups[path]] += value  # type: ignore[assignment]
    if settings.validation_speakers is not None:
        chosen = match_speakers(list(sums), settings.validation_speakers)
    else:
        chosen = draw_validation(sums, settings.train_ratio, settings.seed, "speaker" if by_speaker else "file")
    return {path for path in seconds if groups[path] in chosen}


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


def _summary(
    output_dir: Path, num_files: int, num_known: int, rows: list[ManifestRow], rejected: list[Rejection]
) -> PrepareSummary:
    by_split = {split: [row for row in rows if row.split == split] for split in ("train", "validation")}
    return PrepareSummary(
        output_dir=output_dir,
        num_files=num_files,
        num_known=num_known,
        num_rows={split: len(found) for split, found in by_split.items()},
        seconds={split: sum(row.seconds for row in found) for split, found in by_split.items()},
        num_speakers={split: len({row.speaker for row in found}) for split, found in by_split.items()},
        rejected=count_kinds(rejected),
    )
