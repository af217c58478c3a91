"""Files that are either whole or absent: atomic writes, checksums, JSON."""

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snac_exp.system.checksums.json_digest import signed, verified
from snac_exp.system.locks import try_lock
from snac_exp.system.paths.writing import naming

_LEFT = re.compile(r"\..+\.([a-z0-9_]{8}|\d+)\.tmp", re.DOTALL)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it over `path`, on error remove it.

    A reader (or a process killed at any moment) sees the old file or the new one, never a part. What a killed process
    leaves, `.NAME.….tmp`, is told from what is being written by its lock: see `remove_left`.

    Raises:
        OSError: names `path` where the system refuses, as on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _temporary_beside(path)
    try:
        with naming(path, temporary):
            yield temporary
            # The bytes before the name: after a power cut a name must not lead to an empty file.
            _fsync(temporary)
            temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; the final file follows the user's umask
            temporary.replace(path)
            # A rename is on disk when its folder is.
            _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new hidden folder `.NAME.….tmp` beside `path`, to be renamed to it; what is left of it in the end goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _temporary_folder_beside(path)
    try:
        with naming(path, temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # it is not there any more if all went well
        os.close(handle)


@contextmanager
def removed_on_error(folder: Path) -> Iterator[None]:
    """Around filling a folder that was just made: an error leaves nothing of it."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def left_beside(path: Path) -> list[Path]:
    """Hidden files and folders that were, or are, to become `path`."""
    found = path.parent.glob(f".{glob.escape(path.name)}.*.tmp")
    # A dot there belongs to a longer name, as in .a.b.XXXX.tmp, which is to become a.b.
    return [item for item in found if "." not in item.name[len(path.name) + 2 : -len(".tmp")]]


def remove_left(paths: Iterable[Path]) -> None:
    """Remove hidden files and folders that no living process is writing: killed ones have left them.

    Where the file system knows no locks nothing shows which these are, and all stay.
    """
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        except (FileNotFoundError, PermissionError):
            continue  # another process has just removed it, or it is another user's
        try:
            if try_lock(handle) != "held":
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def remove_left_in(folder: Path) -> None:
    """Remove what killed processes left half-written anywhere below a folder, which need not be there."""
    remove_left([path for path in folder.rglob(".*.tmp") if is_half_written(path.name)])


def is_half_written(name: str) -> bool:
    """Whether `atomic_path` or `folder_beside` gives such names; no other hidden file of a user is meant."""
    return _LEFT.fullmatch(name) is not None


def _temporary_beside(path: Path) -> tuple[int, Path]:
    """A new file with our lock on it, and its descriptor; another one if somebody removes it before it has the lock."""
    while True:
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        except OSError as error:  # of a name that nobody has heard of
            raise OSError(error.errno, error.strerror, str(path)) from error
        if try_lock(handle) != "busy" and os.path.exists(name):
            return handle, Path(name)
        os.close(handle)


def _temporary_folder_beside(path: Path) -> tuple[int, Path]:
    """The same of a folder."""
    while True:
        try:
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        with suppress(FileNotFoundError):
            temporary.chmod(0o777 & ~_umask())
            handle = os.open(temporary, os.O_RDONLY)
            if try_lock(handle) != "busy" and temporary.exists():
                return handle, temporary
            os.close(handle)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    # It can be read only by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, since JSON has neither."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_signed_json(path: Path, values: Mapping[str, Any]) -> None:
    """As `write_json`, with a digest of the content under `sha256`, which `read_json` verifies and leaves out."""
    write_json(path, signed(values))


def read_json(path: Path) -> Any:
    """Parse a JSON file; where it carries a digest of its own content, that is verified and left out.

    Raises:
        ValueError: it is no JSON, or not what was written.
    """
    try:
        return verified(json.loads(Path(path).read_text(encoding="utf-8")))
    except RecursionError:
        raise ValueError("it is nested without end") from None
