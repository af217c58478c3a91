"""A data set of the hub as it streams: its files become Arrow files here one by one, and none is kept twice.

Each is whole or absent, so a command that was killed goes on at the file where it was. stream.json says of which commit
of the data set they are and how many there will be: it is that commit's rows that come, however the data set changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from snac_exp.data.sources.arrow_bytes import open_arrow
from snac_exp.data.sources.tables import audio_column
from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path, left_beside, read_json, remove_left, write_signed_json
from snac_exp.system.hub import dataset_access, dataset_commit
from snac_exp.system.progress import progress_display

STREAM_NAME = "stream.json"
MOST_FILES = 1024  # of a split: a data set may have a file for each recording
_ROWS_AT_ONCE = 16  # with their audio


@dataclass(frozen=True)
class Asked:
    """Which part of which data set was asked for; see `HubOptions`."""

    name: str
    config: str | None
    split: str | None
    revision: str | None


@dataclass(frozen=True)
class Stream:
    """The commit that rows come from, the Arrow files of each split, and its rows, null where the hub does not say."""

    asked: Asked
    commit: str
    num_files: Mapping[str, int]
    num_rows: Mapping[str, int | None]

    def files(self, folder: Path) -> dict[Path, tuple[str, int]]:
        """All files, and of each its split and its number there."""
        return {
            folder / f"{split}-{index:05d}-of-{count:05d}.arrow": (split, index)
            for split, count in self.num_files.items()
            for index in range(count)
        }


def stream_files(asked: Asked, columns: Mapping[str, str], folder: Path) -> tuple[list[Path], str]:
    """The Arrow files of a data set, those that are missing made, and the commit that they are of.

    Raises:
        DataError: the hub cannot be reached, the data set has no audio, or the folder holds the stream of another one.
    """
    known = _known(folder / STREAM_NAME, asked)
    stream = known or _begun(folder / STREAM_NAME, asked)
    files = stream.files(folder)
    missing = {path: of for path, of in files.items() if not path.exists()}
    if missing:
        with dataset_access(asked.name):
            parts = _parts(asked, stream.commit)
        if {split: _num_files(part) for split, part in parts.items()} != stream.num_files:
            raise DataError(
                f"{folder}: streamed by a version of datasets that divided '{asked.name}' otherwise; delete the folder "
                "and run the command again"
            )
        with progress_display(f"streaming {asked.name}", len(missing)) as advance:
            for path, (split, index) in missing.items():
                _write(path, asked.name, parts[split].shard(stream.num_files[split], index), columns)
                advance(1, path.name)
    _refuse_incomplete(stream, files)
    return list(files), stream.commit


def _known(path: Path, asked: Asked) -> Stream | None:
    """What an earlier run noted; null if there was none."""
    if not path.exists():
        return None
    try:
        stored = read_json(path)
        stream = Stream(Asked(**stored.pop("asked")), **stored)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error}); delete the folder {path.parent} and stream it again") from None
    if stream.asked != asked:
        was = ", ".join(f"{key}={value}" for key, value in asdict(stream.asked).items() if value is not None)
        raise DataError(f"{path.parent}: holds the stream of {was}; choose another output folder")
    return stream


def _begun(path: Path, asked: Asked) -> Stream:
    """A stream of the commit that is meant now, noted before the first row comes."""
    with dataset_access(asked.name):
        commit = dataset_commit(asked.name, asked.revision)
        parts = _parts(asked, commit)
    num_files = {split: _num_files(part) for split, part in parts.items()}
    num_rows = {split: _num_rows(part, split) for split, part in parts.items()}
    stream = Stream(asked, commit, num_files, num_rows)
    write_signed_json(path, asdict(stream))
    return stream


def _parts(asked: Asked, commit: str) -> dict[str, Any]:
    """The splits of a data set, of which nothing but the beginning has been read."""
    from datasets import IterableDatasetDict, load_dataset  # type: ignore[import-not-found, import-untyped, unused-ignore]

    found = load_dataset(asked.name, asked.config, split=asked.split, revision=commit, streaming=True)
    return dict(found) if isinstance(found, IterableDatasetDict) else {str(asked.split): found}


def _num_files(part: Any) -> int:
    return min(int(part.num_shards), MOST_FILES)


def _num_rows(part: Any, split: str) -> int | None:
    """As the data set's card says."""
    splits = part.info.splits or {}
    return int(splits[split].num_examples) or None if split in splits else None


def _write(path: Path, name: str, rows: Any, columns: Mapping[str, str]) -> None:
    """One file, which has its name once all of its rows have come."""
    tables = _tables(name, rows)
    first = next(tables, None)
    if first is None and rows.features is None:
        raise DataError(f"{path}: the data set has a file without rows, and nothing says which columns it has")
    schema = rows.features.arrow_schema if first is None else first.schema
    audio_column(path, schema, columns)  # refuses a data set without audio before it has come whole
    remove_left(left_beside(path))
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as out,
    ):
        for table in chain([] if first is None else [first], tables):
            out.write_table(table.cast(schema))


def _tables(name: str, rows: Any) -> Iterator[pa.Table]:
    from datasets.table import embed_table_storage  # type: ignore[import-not-found, import-untyped, unused-ignore]

    # Audio that a row names as a file of the hub comes with it.
    tables = map(embed_table_storage, rows.with_format("arrow").iter(_ROWS_AT_ONCE))
    while True:
        with dataset_access(name):
            table = next(tables, None)
        if table is None:
            return
        yield table


def _refuse_incomplete(stream: Stream, files: Mapping[Path, tuple[str, int]]) -> None:
    """DataError where a split came with other rows than the data set's card counts."""
    for split, expected in stream.num_rows.items():
        of_split = [path for path, (name, _) in files.items() if name == split]
        found = sum(len(batch) for path in of_split for batch in open_arrow(path).batches)
        if expected is not None and found != expected:
            raise DataError(
                f"{of_split[0].parent}: {found} rows of split {split} came, and the data set's card counts {expected}; "
                "delete the folder and run the command again, or tell the authors if it comes to the same"
            )
