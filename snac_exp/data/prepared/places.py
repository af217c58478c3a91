"""Where the rows of a table lie: six columns beside the path, which a table of plain files does not have."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.data.files.recording import Bytes, Recording, Segment
from snac_exp.errors import DataError

PLACE_SCHEMA = pa.schema(
    [
        ("file", pa.string()),  # that holds the audio, relative to the folder of audio, with forward slashes
        ("first_byte", pa.int64()),  # of the audio file within it; -1: it is the audio file itself
        ("num_bytes", pa.int64()),  # of the audio file within it; 0 where it is the audio file itself
        ("start", pa.int64()),  # first sample of the row in the audio file, at its own rate
        ("stop", pa.int64()),  # the sample behind its last one
        ("file_samples", pa.int64()),  # of the whole audio file
    ]
)
WHOLE_FILE = -1
_DOUBTFUL = r"^/|^[./]*$|(^|/)\.\.(/|$)|\x00"

# Columns of tables, shards and mapped codes: a column of a source cannot have their names.
_OURS = re.compile(
    r"path|split|speaker|seconds|rate|channels|num_samples|sha1|peak|source_rate|crc32|(codes|length)_\d+"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the audio of a row lies below a folder: a file, bytes of it, and a segment of either."""

    file: str
    within: Bytes | None = None
    segment: Segment | None = None

    def below(self, folder: Path) -> Recording:
        """The recording; DataError for a path that leaves the folder."""
        return Recording(safe_join(folder, self.file), self.within, self.segment)

    def columns(self, num_samples: int) -> dict[str, Any]:
        """As values of PLACE_SCHEMA; num_samples: of the row, at the file's rate."""
        segment = self.segment or Segment(0, num_samples, num_samples)
        return {
            "file": self.file,
            "first_byte": WHOLE_FILE if self.within is None else self.within.first,
            "num_bytes": 0 if self.within is None else self.within.size,
            "start": segment.start,
            "stop": segment.stop,
            "file_samples": segment.file_samples,
        }


@dataclass(frozen=True)
class Places:
    """Places of all rows of a table, as Arrow columns; `columns` null: every row is the file of its path."""

    paths: Any
    columns: Mapping[str, Any] | None = None

    @classmethod
    def of_table(cls, table: Any) -> "Places":
        """Of a table, or batch, that has the columns or has none of them."""
        has = "file" in table.schema.names
        return cls(table["path"], {name: table[name] for name in PLACE_SCHEMA.names} if has else None)

    def __getitem__(self, row: int) -> Place:
        path = str(self.paths[row].as_py())
        if self.columns is None:
            return Place(path)
        return place_of(path, *(self.columns[name][row].as_py() for name in PLACE_SCHEMA.names))


def place_of(path: str, file: str, first_byte: int, num_bytes: int, start: int, stop: int, file_samples: int) -> Place:
    """The place of the row of this path, from values of PLACE_SCHEMA."""
    whole = (start, stop) == (0, file_samples)
    return Place(
        file,
        None if first_byte == WHOLE_FILE else Bytes(first_byte, num_bytes, path.removeprefix(f"{file}/")),
        None if whole else Segment(start, stop, file_samples),
    )


def free_name(name: str) -> str:
    """The name under which a column of a source is kept: its own, or with `given_` where ours have that one."""
    return f"given_{name}" if name in PLACE_SCHEMA.names or _OURS.fullmatch(name) else name


def refuse_unsafe(folder: Path, paths: Any) -> None:
    """`safe_join` of all paths of an Arrow column, millions in a second; DataError for the first unsafe one."""
    # Whatever the pattern finds may be safe, never the other way round.
    for relative in paths.filter(pc.match_substring_regex(paths, _DOUBTFUL)).to_pylist():
        safe_join(folder, relative)


def stays_below(relative: str) -> bool:
    """Whether a path leads to something below the folder that it counts from."""
    # By its text alone: folders that are linked to from below the input are meant to be read.
    path = PurePosixPath(relative)
    return not (path.is_absolute() or ".." in path.parts or not path.parts or "\0" in relative)


def safe_join(folder: Path, relative: str) -> Path:
    """`folder / relative`; DataError if that could lie outside the folder (absolute path or `..`)."""
    if not stays_below(relative):
        raise DataError(f"unsafe path {relative!r} for a file below {folder}; prepare the folder again")
    return folder / relative
