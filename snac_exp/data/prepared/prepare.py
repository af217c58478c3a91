"""From a folder of audio to a manifest: every file is measured and put into a split, or listed as rejected."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from snac_exp.data.files.measuring import measure_all
from snac_exp.data.files.scan import FileMeasurement
from snac_exp.data.prepared.manifest import MANIFEST_NAME, REJECTED_NAME, Manifest, ManifestRow
from snac_exp.data.prepared.split import draw_validation, match_speakers, speaker_of
from snac_exp.data.rejection import Rejection, count_kinds, counts_line, write_rejections
from snac_exp.errors import ConfigError, DataError
from snac_exp.system.files import remove_left
from snac_exp.system.folder_lock import locked
from snac_exp.system.paths.kind import refuse_file


@dataclass(frozen=True)
class PrepareSettings:
    """What decides which files are used and where they go."""

    split: Literal["speaker", "file"] = "speaker"
    speaker_level: int | None = None
    train_ratio: float = 0.95
    seed: int = 0
    min_seconds: float = 0.25
    silence_db: float = -80.0
    validation_speakers: tuple[str, ...] | None = None


@dataclass(frozen=True)
class PrepareSummary:
    """What came of a folder. `rejected` counts files by kind; seconds and speakers are those of each split."""

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
    input_dir: Path | str,
    output_dir: Path | str,
    *,
    split: Literal["speaker", "file"] = "speaker",
    speaker_level: int | None = None,
    train_ratio: float = 0.95,
    seed: int = 0,
    min_seconds: float = 0.25,
    silence_db: float = -80.0,
    validation_speakers: Sequence[str] | None = None,
    num_workers: int | None = None,
) -> PrepareSummary:
    """Measure all audio below `input_dir` and write manifest.parquet and rejected.parquet to `output_dir`.

    split: "speaker" keeps whole speakers together, a speaker being the folder that holds the files (`speaker_level`
    null) or the first `speaker_level` folders below `input_dir`; set it to 1 where speakers have folders of chapters.
    "file" draws single files. train_ratio counts seconds.
    validation_speakers: shell patterns of the speakers that validate, instead of a draw. silence_db: a file whose mono
    peak lies below it (dB of full scale) is silent. num_workers: processes, null = one per core.
    Of files with equal bytes the first by path is used, so no recording is in both splits.
    Can be repeated: files of equal size and time are not read again. Raises DataError if nothing is usable, or if
    `output_dir` holds the manifest of another folder or other settings.
    """
    patterns = tuple(validation_speakers) if validation_speakers else None
    settings = PrepareSettings(split, speaker_level, train_ratio, seed, min_seconds, silence_db, patterns)
    _check_settings(settings)
    input_dir, output_dir = Path(input_dir).expanduser().resolve(), Path(output_dir).expanduser()
    refuse_file(input_dir, "a folder of audio; input= names one", DataError)
    if not input_dir.is_dir():
        raise DataError(f"{input_dir}: no such folder; input= names the folder of audio")
    # Before measuring, which may take hours.
    _refuse_other_output(output_dir, input_dir, settings)
    output_dir.mkdir(parents=True, exist_ok=True)
    with locked(output_dir):  # two commands would write a list each of the manifest and of what it rejects
        _refuse_other_output(output_dir, input_dir, settings)
        remove_left(output_dir.glob(".*.tmp"))  # not below: the codes there have a command of their own
        measurements, num_known = measure_all(input_dir, output_dir, num_workers)
        usable, rejected = _separated(measurements, settings)
        rows = _split(usable, settings, input_dir, rejected)
        # The manifest last: where there is one, the list of rejected files is there too.
        write_rejections(output_dir / REJECTED_NAME, rejected)
        Manifest(input_dir, _as_json(settings), rows).write(output_dir / MANIFEST_NAME)
        return _summary(output_dir, len(measurements), num_known, rows, rejected)


def _check_settings(settings: PrepareSettings) -> None:
    if settings.split not in ("speaker", "file"):
        raise ConfigError(f"split={settings.split} is neither speaker nor file")
    if settings.speaker_level is not None and settings.speaker_level < 1:
        raise ConfigError(
            f"speaker_level={settings.speaker_level} must be at least 1, or null for the innermost folder"
        )


def _refuse_other_output(output_dir: Path, input_dir: Path, settings: PrepareSettings) -> None:
    if not (output_dir / MANIFEST_NAME).exists():
        return
    old = Manifest.read(output_dir)
    now = {"input": str(input_dir), **_as_json(settings)}
    then = {"input": str(old.input_dir), **old.settings}
    changed = [f"{key} was {then.get(key)}, is {value}" for key, value in now.items() if then.get(key) != value]
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
    if measured.error is not None:
        return "unreadable", measured.error
    if measured.num_samples == 0:
        return "empty", "no samples"
    if measured.problem is not None:
        return measured.problem
    if measured.seconds < settings.min_seconds:
        return "too_short", f"{measured.seconds:.4f} s, less than min_seconds={settings.min_seconds}"
    if measured.peak < 10 ** (settings.silence_db / 20):
        return "silent", f"peak of the mono mix {measured.peak:.2e}, below silence_db={settings.silence_db}"
    return None


def _printable(path: str) -> str:
    """The path itself, or with escapes where its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _split(
    usable: list[FileMeasurement], settings: PrepareSettings, input_dir: Path, rejected: list[Rejection]
) -> list[ManifestRow]:
    if not usable:
        kinds = ", ".join(f"{kind} {num}" for kind, num in count_kinds(rejected).items())
        raise DataError(
            f"{input_dir}: none of {len(rejected)} files is usable ({kinds}), "
            f"first: {rejected[0].path}: {rejected[0].reason}"
        )
    speakers = {measured.path: speaker_of(measured.path, settings.speaker_level) for measured in usable}
    # Named speakers go to validation whole, whatever `split` says.
    by_speaker = settings.split == "speaker" or settings.validation_speakers is not None
    groups = speakers if by_speaker else {measured.path: measured.path for measured in usable}
    seconds: Counter[str] = Counter()
    for measured in usable:
        seconds[groups[measured.path]] += measured.seconds  # type: ignore[assignment]
    if settings.validation_speakers is not None:
        validation = match_speakers(list(seconds), settings.validation_speakers)
    else:
        validation = draw_validation(seconds, settings.train_ratio, settings.seed)
    return [
        _row(measured, "validation" if groups[measured.path] in validation else "train", speakers[measured.path])
        for measured in usable
    ]


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


def _as_json(settings: PrepareSettings) -> dict[str, Any]:
    # Tuples become lists, as in a stored manifest; otherwise equal settings would seem to have changed.
    value: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return value


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
