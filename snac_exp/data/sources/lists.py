"""Lists of files and segments: .jsonl, .csv and .tsv with a line for each row."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from snac_exp.data.files.listed_table import Found
from snac_exp.data.files.listing import Listing, listing_of
from snac_exp.data.sources.names import Names, columns_line
from snac_exp.data.sources.paths import placed_path
from snac_exp.errors import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".json", ".ndjson")
Rows = Iterator[tuple[str, Mapping[str, Any]]]  # with the place of each, for messages


def list_suffix(path: Path) -> str:
    """The ending that says how a list is written, `.gz` left out."""
    return Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()


def read_list(path: Path, columns: Mapping[str, str], base: Path) -> Listing:
    """The rows of a list; relative paths count from `base`.

    Raises:
        DataError: a line that is not readable, or none that names audio; names file and line.
    """
    # Read twice: a column may come with the last line, and no two lines are in memory at once.
    there, num_lines = Counter[str](), 0  # how many lines have a value of each
    for _, row in read_lines(path):
        num_lines += 1
        there.update({name: value is not None for name, value in row.items()})
    names = Names.chosen(there, columns, str(path))
    if "audio" not in names.of:
        raise DataError(
            f"{path}: a list without a column of audio files: {columns_line(there)}; name it with "
            "columns={audio: NAME}"
        )
    rows = (_row(row, names, place, base) for place, row in read_lines(path))
    return listing_of(base, str(path), rows, (*names.lines(there), *_open_ends(names, there, num_lines)))


def _open_ends(names: Names, there: Mapping[str, int], num_lines: int) -> Iterator[str]:
    """For people: that segments without a duration, among others that have one, take the rest of their file."""
    if "duration" in names.of and "end" not in names.of:
        without = num_lines - there[names.of["duration"]]
        if without:
            yield (
                f"warning: {without} of {num_lines} lines have no {names.of['duration']}: their audio goes to the end "
                "of the file"
            )


def _row(row: Mapping[str, Any], names: Names, place: str, base: Path) -> Found:
    file = placed_path(_audio_of(row, names, place), base)
    offset = names.number(row, "offset", place) or 0.0
    duration, end = names.number(row, "duration", place), names.number(row, "end", place)
    if duration is None and end is not None:
        duration = end - offset
    return Found(
        file=file,
        offset=offset,
        duration=duration,
        speaker=names.speaker(row),
        split=names.split(row),
        columns=names.further(row),
    )


def _audio_of(row: Mapping[str, Any], names: Names, place: str) -> str:
    value = names.value(row, "audio")
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: {names.of['audio']}={value!r} names no audio file; fix the line")
    return value


def read_lines(path: Path) -> Rows:
    """The lines of a list as dictionaries, one by one, with the place of each."""
    suffix = list_suffix(path)
    try:
        with open_text(path) as file:
            if suffix in DELIMITERS:
                yield from _delimited(file, path, DELIMITERS[suffix])
            else:
                yield from _json_lines(file, path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable list ({error}); write it as text in UTF-8") from error


def open_text(path: Path) -> IO[str]:
    """A text file in UTF-8, compressed by gzip perhaps."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _delimited(file: IO[str], path: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # Quotation marks are text in lists with tabs: transcripts have them unpaired.
    text = delimiter == "\t"
    reader = csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE if text else csv.QUOTE_MINIMAL)
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise DataError(f"{place}: not as many values as the first line has names; fix the line")
        yield place, {name: value if value != "" else None for name, value in row.items()}


def _json_lines(file: IO[str], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: not valid JSON ({error}); a list has one object in each line") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}: JSON, but no object with names and values; a list has one in each line")
        yield place, row
