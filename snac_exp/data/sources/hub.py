"""Data sets of the Hugging Face hub, by `datasets`: downloaded into its cache of Arrow files, or streamed into ours."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from snac_exp.data.files.listing import Listing
from snac_exp.data.sources.streamed import Asked, stream_files
from snac_exp.data.sources.tables import read_tables
from snac_exp.data.sources.unpacked import UNPACKED_DIR
from snac_exp.errors import ConfigError, DataError
from snac_exp.system.hub import dataset_access, is_repo_id

SCHEME = "hf://"


@dataclass(frozen=True)
class HubOptions:
    """Which part of a data set of the hub: configuration, split and revision; null = the only one, all, the newest.

    stream: its rows come one by one into files of the output folder, in place of a download into the hub's cache.
    """

    config: str | None = None
    split: str | None = None
    revision: str | None = None
    stream: bool = False


def read_hub(address: str, options: HubOptions, columns: Mapping[str, str], output_dir: Path) -> Listing:
    """The rows of a data set, as hf://OWNER/NAME or hf://datasets/OWNER/NAME.

    Raises:
        ConfigError: no such address, or `datasets` is not installed. DataError: it cannot be had.
    """
    name = address.removeprefix(SCHEME).removeprefix("datasets/")
    if not is_repo_id(name):
        raise ConfigError(f"input={address} is no data set of the hub; write input=hf://OWNER/NAME")
    if options.split is not None and "[" in options.split:
        raise ConfigError(f"hub.split={options.split} must name a whole split, like train or train+validation")
    if find_spec("datasets") is None:
        raise ConfigError("data sets of the hub need datasets: pip install 'snac_exp[hf]'")
    if options.stream:
        folder = output_dir / UNPACKED_DIR
        asked = Asked(name, options.config, options.split, options.revision)
        files, commit = stream_files(asked, columns, folder)
        return replace(read_tables(folder, address, files, columns, output_dir), commit=commit)
    files = _downloaded(name, options)
    return read_tables(Path(files[0]).parent, address, files, columns, output_dir)


def _downloaded(name: str, options: HubOptions) -> list[Path]:
    """The files of a data set in the cache of `datasets`."""
    from datasets import DatasetDict, load_dataset  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with dataset_access(name):
        found = load_dataset(name, options.config, split=options.split, revision=options.revision)
    parts = list(found.values()) if isinstance(found, DatasetDict) else [found]
    files = [Path(file["filename"]) for part in parts for file in part.cache_files]
    if not files:
        raise DataError(f"the data set '{name}' has no files in the cache of datasets; set input=DIR to a copy of it")
    return list(dict.fromkeys(files))
