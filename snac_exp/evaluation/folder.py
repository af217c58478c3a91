"""The folder of one evaluation: an interrupted one goes on where it was, a finished one is never touched again.

job.json         what is evaluated on what and how; another job is refused
progress.jsonl   a line per utterance that is done; gone at the end
files.parquet    a row per utterance and output: the same job gives the same rows
speed.json       how long it took, apart from the rest since it never repeats
summary.json     means with intervals; written last, so that it marks a finished evaluation
summary.md       the same to read
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.checked_parquet import read_parquet, write_parquet
from snac_exp.errors import ConfigError, DataError
from snac_exp.metrics.metric import Metric
from snac_exp.release.files.job import JOB_FILE, Job
from snac_exp.system.checksums.json_lines import signed_line, sound_lines
from snac_exp.system.files import remove_left_in, write_signed_json, write_text
from snac_exp.system.folder_lock import locked
from snac_exp.system.paths.kind import refuse_file
from snac_exp.system.paths.writing import append_line
from snac_exp.tracking.json_files import read_object

FILES_NAME, SUMMARY_NAME, TABLE_NAME, SPEED_NAME = "files.parquet", "summary.json", "summary.md", "speed.json"
PROGRESS_NAME = "progress.jsonl"

Row = dict[str, Any]
"""One output of one utterance; see `FIELDS` and `snac_exp.metrics.table`."""

FIELDS = [
    ("path", pa.string()),  # of the file, relative to the folder of audio
    ("sha1", pa.string()),  # of the file's bytes: what tells utterances apart
    ("speaker", pa.string()),
    ("seconds", pa.float64()),  # measured
    ("output", pa.string()),  # 24k, 48k (a head's name where two have one rate), baseline, baseline_noise
    ("rate", pa.int32()),  # of the output, in Hz
    ("made_from", pa.string()),  # head_24k, head_24k interpolated, …
    ("native_high_band", pa.bool_()),  # whether the recording counts above 12 kHz
    ("narrow", pa.string()),  # why not: rate, cutoff, energy, steady
    ("cutoff_hz", pa.float64()),  # how high the recording reaches
    ("hf_energy_ratio", pa.float64()),  # its energy above 12 kHz / all
    ("hf_dynamics_db", pa.float64()),  # how much that moves
]


@dataclass(frozen=True)
class Done:
    """An utterance that is done: its rows, and the seconds that encoding and decoding took."""

    path: str
    rows: list[Row]
    seconds: float
    encode_seconds: float
    decode_seconds: float


class EvaluationFolder:
    """Where an evaluation is written.

    Raises:
        ConfigError: the folder holds a finished evaluation, another one, or something else.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        refuse_finished(path)
        self.path = Job(path, settings).folder
        self._progress = path / PROGRESS_NAME
        self.done: dict[str, Done] = {}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the folder and take up what is done.

        Raises:
            ConfigError: another process is at work on this evaluation, or has just finished it.
        """
        with locked(self.path):
            refuse_finished(self.path)
            remove_left_in(self.path)
            self.done = {item.path: item for item in _read_progress(self._progress)}
            # Rewritten whole: the next line would otherwise go on from the broken one, and both would be lost.
            if self.done:  # without a line that was cut off
                write_text(self._progress, "".join(f"{signed_line(vars(item))}\n" for item in self.done.values()))
            yield

    def record(self, item: Done) -> None:
        """Keep what an utterance gave."""
        # Written at once, so a kill costs the utterance under way and no other.
        append_line(self._progress, signed_line(vars(item)))
        self.done[item.path] = item

    def finish(
        self,
        rows: Sequence[Row],
        metrics: Sequence[Metric],
        summary: Mapping[str, Any],
        table: str,
        speed: Mapping[str, Any],
    ) -> None:
        """Write what people read; each file is whole or absent."""
        # Columns of all metrics, since the first rows alone may lack some, as those of wide rates.
        schema = pa.schema([*FIELDS, *((metric.name, pa.float64()) for metric in metrics)])
        write_parquet(self.path / FILES_NAME, pa.Table.from_pylist(list(rows), schema=schema))
        write_signed_json(self.path / SPEED_NAME, dict(speed))
        write_text(self.path / TABLE_NAME, table)
        # Last: summary.json marks a finished evaluation, so all other files are whole by then.
        write_signed_json(self.path / SUMMARY_NAME, dict(summary))
        self._progress.unlink(missing_ok=True)


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation."""

    path: Path
    settings: dict[str, Any]
    summary: dict[str, Any]
    rows: list[Row]

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """Read a folder; DataError if it holds no finished evaluation."""
        refuse_file(path, "a folder that snac-exp evaluate wrote", DataError)
        if not (path / SUMMARY_NAME).is_file() or not (path / FILES_NAME).is_file():
            state = "is not finished: give its own command again" if (path / JOB_FILE).is_file() else "is not there"
            raise DataError(f"{path}: an evaluation {state}; a finished one has {SUMMARY_NAME} and {FILES_NAME}")
        try:
            settings = read_object(path / JOB_FILE, {"system": dict, "protocol": dict})
            summary = read_object(path / SUMMARY_NAME)
        except ConfigError as error:
            raise DataError(f"the evaluation cannot be read: {error}") from None
        return cls(path, settings, summary, read_parquet(path / FILES_NAME, "list of results", "copy it again", _rows))

    @property
    def name(self) -> str:
        """Of the system."""
        return str(self.settings["system"]["name"])


def _rows(file: pq.ParquetFile) -> list[Row]:
    """The rows of an evaluation; KeyError if a column is missing."""
    table = file.read()
    for name, _ in FIELDS:
        table.column(name)
    rows: list[Row] = table.to_pylist()
    return rows


def refuse_finished(path: Path) -> None:
    """ConfigError if a finished evaluation lies there."""
    if (path / SUMMARY_NAME).exists():
        raise ConfigError(f"{path} holds a finished evaluation, which is not overwritten; give another output")


def _read_progress(path: Path) -> list[Done]:
    """Utterances done so far; a line that was being written when the process died, or is damaged, does not count: its
    utterance is measured once more."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    names = {item.name for item in fields(Done)}
    return [Done(**values) for values in sound_lines(lines) if values.keys() == names]
