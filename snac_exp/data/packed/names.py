"""The files of a packed folder by their names, and a packed folder that lies in a store."""

import re
from pathlib import Path

from snac_exp.system.remote.folders import local_folder

SHARD_NAME = re.compile(r"audio-(\d{5})-of-(\d{5})\.arrow")
ANY_SHARD = "audio-*-of-*.arrow"  # as globs take it
_OTHERS = ("manifest.parquet", "rows.arrow")


def local_pack(folder: str) -> Path:
    """The folder that a path names, whatever is there; of an address in a store, a local copy of the packed folder."""
    return local_folder(folder, lambda name: name in _OTHERS or SHARD_NAME.fullmatch(name) is not None)
