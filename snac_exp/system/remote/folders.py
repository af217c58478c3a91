"""What a user names as a folder: a path, or an address whose files are brought here first."""

from collections.abc import Callable
from pathlib import Path

from snac_exp.system.remote.cache import RemoteCache
from snac_exp.system.remote.urls import is_url


def local_folder(folder: str, wanted: Callable[[str], bool], *, deep: bool = False) -> Path:
    """The folder that a path names, whatever is there; of an address, a local copy: see `RemoteCache.local`."""
    if not is_url(folder):
        return Path(folder).expanduser()
    return RemoteCache.of_this_machine().local(folder, wanted, deep=deep)
