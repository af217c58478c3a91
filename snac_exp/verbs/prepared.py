"""The prepared folder that a verb works on, which part of it, and where it writes."""

from dataclasses import dataclass
from pathlib import Path

from snac_exp.data.packed.names import local_pack
from snac_exp.errors import ConfigError
from snac_exp.system.remote.urls import is_url


@dataclass(frozen=True)
class Shard:
    """Which part of the work."""

    index: int
    count: int


def prepared_and_output(prepared: str, output: str | None, name: str) -> tuple[Path, Path]:
    """The folder `prepared`, brought here from a store if that is its address, and `output`, by default `name` in it.

    Raises:
        ConfigError: an address without an output: nothing is written to stores.
    """
    if output is None and is_url(prepared):
        raise ConfigError(f"output has no value: data={prepared} lies in a store; name a folder here, output=FOLDER")
    folder = local_pack(prepared)
    return folder, Path(output).expanduser() if output else folder / name
