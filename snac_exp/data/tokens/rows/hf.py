"""Files of the datasets library: Arrow streams, and what makes a folder of them one that `load_from_disk` opens."""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from snac_exp.errors import ConfigError
from snac_exp.system.files import atomic_path, read_json, write_json

DICT_FILE, STATE_FILE, INFO_FILE = "dataset_dict.json", "state.json", "dataset_info.json"
SAVED_FILES = (DICT_FILE, STATE_FILE)  # one of them lies in every folder that `save_to_disk` wrote
_FILES = "_data_files"  # of a state


def datasets_library() -> Any:
    """The datasets library; ConfigError where it is not installed."""
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise ConfigError(
            "format=hf needs the datasets library: pip install 'snac_exp[hf]', or set format=parquet"
        ) from error


@contextmanager
def quiet_datasets() -> Iterator[Any]:
    """The datasets library without its progress bars."""
    library = datasets_library()
    shown = not library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield library
    finally:
        if shown:
            library.enable_progress_bars()


def write_stream(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """An Arrow stream of tables of a schema, which appears under its name once it is whole."""
    typed = datasets_library().Features.from_arrow_schema(schema).arrow_schema
    with atomic_path(path) as temporary, pa.ipc.new_stream(str(temporary), typed) as writer:
        for table in tables:
            writer.write_table(table.cast(typed))


def read_stream(path: Path) -> Iterator[Any]:
    """Rows of an Arrow stream as dictionaries, batch after batch."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            yield from batch.to_pylist()


def complete_folder(folder: Path, schema: pa.Schema, splits: Mapping[str, Sequence[str]]) -> None:
    """Make a folder of streams one that `load_from_disk` opens; splits: name -> files SPLIT/NAME.

    The library writes an empty data set of this schema, so what its files look like stays its own matter; the names of
    ours are put in.
    """
    with quiet_datasets() as library, TemporaryDirectory() as temporary:
        features = library.Features.from_arrow_schema(schema)
        empty = library.Dataset.from_dict({name: [] for name in schema.names}, features=features)
        library.DatasetDict(dict.fromkeys(splits, empty)).save_to_disk(temporary)
        for split, names in splits.items():
            made = Path(temporary) / split
            state = read_json(made / STATE_FILE) | {"_split": split}
            state[_FILES] = [{"filename": Path(name).name} for name in names]
            write_json(folder / split / INFO_FILE, read_json(made / INFO_FILE))
            write_json(folder / split / STATE_FILE, state)
        write_json(folder / DICT_FILE, json.loads((Path(temporary) / DICT_FILE).read_text()))


def saved_files(folder: Path) -> list[Path] | None:
    """The streams of a folder that `save_to_disk` wrote, of all its splits; None if it is no such folder.

    Raises:
        ValueError, KeyError, TypeError: what it says of itself is damaged.
        FileNotFoundError: a split that it names is not there.
    """
    if (folder / DICT_FILE).is_file():
        parts = [folder / split for split in read_json(folder / DICT_FILE)["splits"]]
    elif (folder / STATE_FILE).is_file():
        parts = [folder]
    else:
        return None
    return [part / item["filename"] for part in parts for item in read_json(part / STATE_FILE)[_FILES]]
