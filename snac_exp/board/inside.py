"""What may be read: regular files of the folder that is shown. Links that lead out of it are refused."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from snac_exp.errors import ConfigError

T = TypeVar("T")
Signature = tuple[int, int, int]
"""Inode, time of the last change in ns, size in bytes: a file that keeps all three was not written."""


class Inside:
    """The folder that is shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._real = str(folder.resolve())

    def signature(self, path: Path) -> Signature | None:
        """What tells whether a file has changed; None where there is none.

        Raises:
            ConfigError: it is a link that leads out of the folder, or no regular file.
        """
        try:
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                self.require(path)
                found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        # Opening a pipe would wait for somebody to write into it.
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path} is no regular file; remove it")
        return found.st_ino, found.st_mtime_ns, found.st_size

    def require(self, path: Path) -> None:
        """ConfigError if links lead from this path out of the folder."""
        real = os.path.realpath(path)
        if real != self._real and not real.startswith(self._real.rstrip("/") + "/"):
            raise ConfigError(f"{path} is a link that leads out of {self.folder}; copy what it leads to")

    def has(self, path: Path) -> bool:
        """Whether there is a file that may be read in a folder which is no link."""
        try:
            return self.signature(path) is not None
        except ConfigError:
            return False


class Kept(Generic[T]):
    """What a file says, read again only once it has changed."""

    def __init__(self, inside: Inside, path: Path, read: Callable[[], T], absent: T) -> None:
        self._inside, self._path, self._read, self._absent = inside, path, read, absent
        self._signature: Signature | None = None
        self._value, self._problem = absent, ""

    def get(self) -> T:
        """What it says now; `absent` where there is no such file.

        Raises:
            ConfigError: it is damaged, or may not be read.
        """
        signature = self._inside.signature(self._path)
        if signature != self._signature:
            self._value, self._problem = self._absent, ""
            try:
                self._value = self._absent if signature is None else self._read()
            except ConfigError as error:
                self._problem = str(error)
            self._signature = signature
        if self._problem:
            raise ConfigError(self._problem)
        return self._value
