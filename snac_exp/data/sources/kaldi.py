"""Kaldi's data folders: wav.scp, and beside it segments, utt2spk, utt2lang and text where they are there."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.data.files.listed_table import Found, one_array
from snac_exp.data.files.listing import Listing, listing_of
from snac_exp.data.sources.lists import open_text
from snac_exp.data.sources.paths import placed_path
from snac_exp.errors import DataError

WAV_SCP = "wav.scp"
_BESIDE = {"speaker": "utt2spk", "text": "text", "language": "utt2lang"}
_LINES_AT_ONCE = 2**14  # that are objects
_SEGMENTS = pa.schema([("recording", pa.large_string()), ("start", pa.float64()), ("end", pa.float64())])


@dataclass(frozen=True)
class _Table:
    """First words of the lines of a file, and the rest of each."""

    path: Path
    keys: Any
    values: Any

    def of(self, keys: Any) -> "_Looked":
        """The values of keys, null where there is none."""
        return _Looked(self.values, pc.index_in(keys, value_set=self.keys))


@dataclass(frozen=True)
class _Looked:
    """Values that rows have by number; together they would be as large as the table that they are of once more."""

    values: Any
    numbers: Any

    def slice(self, start: int, num: int) -> Any:
        """Of some rows."""
        return self.values.take(self.numbers.slice(start, num))


def read_kaldi(folder: Path, base: Path) -> Listing:
    """Utterances of a folder, named as there; relative paths of wav.scp count from `base`.

    Raises:
        DataError: a command in place of a file, an utterance of a recording that is not listed; names file and line.
    """
    wavs = _table(folder / WAV_SCP)
    _refuse_commands(wavs)
    columns = {"path": wavs.keys, "audio": wavs.values}
    if (folder / "segments").exists():
        columns = _segments(_table(folder / "segments"), wavs)
    for name, file in _BESIDE.items():
        if (folder / file).exists():
            columns[name] = _table(folder / file).of(columns["path"])
    return listing_of(base, str(folder), _rows(columns, base))


def _rows(columns: dict[str, Any], base: Path) -> Iterator[Found]:
    for first in range(0, len(columns["path"]), _LINES_AT_ONCE):
        some = {name: values.slice(first, _LINES_AT_ONCE) for name, values in columns.items()}
        for row in pa.table(some).to_pylist():
            path, file, speaker = row.pop("path"), row.pop("audio"), row.pop("speaker", None)
            start, end = row.pop("start", 0.0), row.pop("end", None)
            yield Found(
                path=path,
                file=placed_path(file, base),
                offset=start,
                duration=None if end is None else end - start,
                speaker=speaker,
                columns=row,
            )


def _refuse_commands(wavs: _Table) -> None:
    """DataError for the first recording that is no file."""
    commands = pc.match_substring_regex(wavs.values, r"\|$|^$")
    if pc.any(commands).as_py():
        number = pc.index(commands, True).as_py()
        what = "a command" if wavs.values[number].as_py() else "nothing"
        raise DataError(
            f"{wavs.path}: {wavs.keys[number]} is {what}, not a file; write its audio to a file and name that"
        )


def _segments(cuts: _Table, wavs: _Table) -> dict[str, Any]:
    """Name, audio, start and end of each segment, in seconds; an end that is null, or -1 there, is the recording's."""
    parts = [_SEGMENTS.empty_table()]
    lines = pa.table({"name": cuts.keys, "value": cuts.values})
    for batch in lines.to_batches(_LINES_AT_ONCE):
        found = [_segment(cuts.path, row["name"], row["value"]) for row in batch.to_pylist()]
        parts.append(pa.table(list(zip(*found, strict=True)), schema=_SEGMENTS))
    table = pa.concat_tables(parts)
    recordings, start, end = (one_array(table[name]) for name in _SEGMENTS.names)
    audio = wavs.of(recordings)
    if audio.numbers.null_count:
        number = pc.index(pc.is_null(audio.numbers), True).as_py()
        raise DataError(f"{cuts.path}: {cuts.keys[number]} is of {recordings[number]}, which {WAV_SCP} does not list")
    return {"path": cuts.keys, "audio": audio, "start": start, "end": end}


def _segment(path: Path, name: str, value: str) -> tuple[str, float, float | None]:
    try:
        recording, start, end = value.split()[:3]
        return recording, float(start), None if float(end) < 0 else float(end)
    except ValueError:
        raise DataError(f"{path}: {name} has {value!r}, not a recording, a start and an end in seconds") from None


def _table(path: Path) -> _Table:
    """A file's lines but empty ones; DataError where a name comes twice, or it is no text."""
    parts = list[pa.Table]()
    try:
        with open_text(path) as file:
            lines = ([*line.split(maxsplit=1), ""][:2] for line in file if line.strip())
            while some := list(islice(lines, _LINES_AT_ONCE)):
                keys, values = zip(*some, strict=True)
                parts.append(
                    pa.table([pa.array(keys), pa.array([value.strip() for value in values])], ["key", "value"])
                )
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable ({error}); Kaldi's tables are text in UTF-8") from error
    empty = pa.schema([("key", pa.string()), ("value", pa.string())]).empty_table()
    table = pa.concat_tables([empty, *parts])
    keys, values = one_array(table["key"]), one_array(table["value"])
    if pc.count_distinct(keys).as_py() < len(keys):
        _refuse_repeated(path)
    return _Table(path, keys, values)


def _refuse_repeated(path: Path) -> None:
    """DataError for the first line whose name came before."""
    seen = set[str]()
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            name = next(iter(line.split(maxsplit=1)), None)
            if name in seen:
                raise DataError(f"{path}, line {number}: {name} comes twice; remove one of the two")
            seen |= {name} if name else set()
