"""Data sets of the Hugging Face hub, which `datasets` downloads into its cache of Arrow files, to be read in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snac_exp.data.files.listing import Listing
from snac_exp.data.sources.tables import read_tables
from snac_exp.errors import ConfigError, DataError
from snac_exp.system.hub import is_repo_id

SCHEME = "hf://"


@dataclass(frozen=True)
class HubOptions:
    """Which part of a data set of the hub: configuration, split and revision; null = the only one, all, the newest."""

    config: str | None = None
    split: str | None = None
    revision: str | None = None


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
    files = _downloaded(name, options)
    root = Path(files[0]).parent
    return read_tables(root, address, files, columns, output_dir)


def _downloaded(name: str, options: HubOptions) -> list[Path]:
    """The files of a data set in the cache of `datasets`."""
    try:
        from datasets import DatasetDict, load_dataset  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise ConfigError("data sets of the hub need datasets: pip install 'snac_exp[hf]'") from error
    try:
        found = load_dataset(name, options.config, split=options.split, revision=options.revision)
    # What its client raises when the hub is out of reach, or has no such data set, configuration or split.
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot get the data set '{name}' from the hub ({str(error).strip().splitlines()[0]}): check the name, "
            "hub.config, hub.split, the network and HF_HOME, or run 'hf download --repo-type dataset "
            f"{name} --local-dir DIR' where there is a network, copy DIR here and set input=DIR"
        ) from error
    parts = list(found.values()) if isinstance(found, DatasetDict) else [found]
    files = [Path(file["filename"]) for part in parts for file in part.cache_files]
    if not files:
        raise DataError(f"the data set '{name}' has no files in the cache of datasets; set input=DIR to a copy of it")
    return list(dict.fromkeys(files))
