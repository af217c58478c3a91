"""Objects of a store, through fsspec: what lies below an address, and one of them as a local file, whole or not at all.

`s3://`, `gs://` and `az://` are read by obstore (extra [remote]), which finds keys and endpoints where those services'
own programs do: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, …; all others by what fsspec has.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from snac_exp.errors import ConfigError, DataError
from snac_exp.system.remote.patience import ChangedError, first_line, patiently
from snac_exp.system.remote.urls import protocol_of

BY_OBSTORE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
BLOCK_BYTES = 2**23  # asked for at once
_CHANGES = ("e_tag", "ETag", "etag", "blob_id", "generation", "last_modified", "LastModified", "mtime", "created")
"""What says that an object was written anew; the first that a store has, in a listing and of a single object alike."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An object below an address. version: changes whenever it is written anew; of S3, its etag."""

    url: str
    name: str
    size: int
    version: str


def list_files(url: str, *, deep: bool) -> list[RemoteFile]:
    """All objects below an address in the order of their names; deep: in folders of it too.

    Raises:
        DataError: there is none, they may not be listed, or the store does not answer.
        ConfigError: no library here reads such addresses.
    """
    try:
        return patiently(url, lambda: _listed(url, deep))
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise DataError(f"{url}: may not be read ({first_line(error)}); give the keys of that store") from error


def _listed(url: str, deep: bool) -> list[RemoteFile]:
    fs, root = _open_store(url)
    fs.invalidate_cache()
    found: Mapping[str, Mapping[str, Any]] = fs.find(root, maxdepth=None if deep else 1, detail=True)
    return sorted((_file_of(url, root, key, info) for key, info in found.items()), key=lambda file: file.name)


def _file_of(url: str, root: str, key: str, info: Mapping[str, Any]) -> RemoteFile:
    name = key.removeprefix(root).lstrip("/")
    if not name:
        raise DataError(f"{url} is an object, not a folder; name what it lies in")
    if ".." in PurePosixPath(name).parts:
        raise DataError(f"{url}: holds an object with the unsafe name {name!r}; remove it there")
    if info.get("size") is None:
        raise DataError(
            f"{url}/{name}: its store does not say how large it is, so nothing can tell whether it is whole"
        )
    return RemoteFile(f"{url.rstrip('/')}/{name}", name, int(info["size"]), _version(info))


def _version(info: Mapping[str, Any]) -> str:
    """What tells an object from a later one of its name; empty where a store says nothing of the kind."""
    said = next((info[name] for name in _CHANGES if info.get(name) is not None), "")
    # fsspec's memory:// says when as a number in a listing, and as a time of a single object.
    return str(said.timestamp() if isinstance(said, datetime) else said).strip('"')


def fetch(file: RemoteFile, path: Path) -> None:
    """Read an object into a local file, which is then on the disk.

    Raises:
        ChangedError: it is another one by now. OSError: the disk is full.
        DataError: it is gone, may not be read, or the store does not deliver all of it.
    """
    try:
        patiently(file.url, lambda: _fetched(file, path))
    except (FileNotFoundError, PermissionError) as error:
        raise DataError(f"{file.url}: was listed, and now cannot be read ({first_line(error)})") from error


def _fetched(file: RemoteFile, path: Path) -> None:
    fs, key = _open_store(file.url)
    fs.invalidate_cache()
    with open(path, "wb") as local:
        with fs.open(key, "rb", block_size=BLOCK_BYTES) as remote:
            shutil.copyfileobj(remote, local, BLOCK_BYTES)
        local.flush()
        os.fsync(local.fileno())
        size = local.tell()
    # Afterwards: an object that changed while it was read may have come in parts of both.
    now = fs.info(key)
    if _version(now) != file.version or int(now["size"]) != file.size:
        raise ChangedError(file.url)
    if size != file.size:
        raise OSError(f"{size:,} of {file.size:,} bytes came")


def _open_store(url: str) -> tuple[Any, str]:
    """The file system of an address, and what the address is there."""
    import fsspec

    protocol = protocol_of(url)
    options: dict[str, Any] = {}
    if protocol in BY_OBSTORE:
        try:
            from obstore.fsspec import register
        except ImportError as error:
            raise ConfigError(f"{url}: {protocol}:// needs obstore; pip install 'snac_exp[remote]'") from error
        register(protocol)
        options = {"retry_config": {"max_retries": 0}}  # here they are counted, and told in the end
    try:
        fs, root = fsspec.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{url}: no library here reads {protocol}:// ({first_line(error)})") from error
    return fs, root.rstrip("/")
