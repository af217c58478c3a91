"""The local cache of folders in stores: an entry is all wanted files of a folder, as they were at one moment.

    CACHE/NAME-DIGEST/          an entry, whole: the digest is of the address and of every file's name, size and version
    CACHE/.NAME-DIGEST.….tmp/   one that is being downloaded; a killed process's is removed
    CACHE/locks/                one lock for each: shared by those who have it open, exclusive to fill or to evict it

Any number of processes share a cache. A folder that has changed in its store is another entry; the old one stays as
long as somebody has it open. Entries that nobody has open make room for new ones, those first that were opened longest
ago. What is made of an entry's files (codes.arrow) lies beside them, counts, and goes with them.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from snac_exp.errors import ConfigError, DataError
from snac_exp.system.files import folder_beside, remove_left
from snac_exp.system.locks import one_at_a_time, try_lock
from snac_exp.system.progress import progress_display
from snac_exp.system.remote.patience import ATTEMPTS, FIRST_PAUSE_SECONDS, ChangedError, pause
from snac_exp.system.remote.store import RemoteFile, fetch, list_files

FOLDER_VARIABLE, BYTES_VARIABLE = "SNAC_EXP_REMOTE_CACHE", "SNAC_EXP_REMOTE_CACHE_GB"
DEFAULT_GB = 50.0
DOWNLOADS_AT_ONCE = 8
_PROMISED = ".promised"  # as long as all that is to come; on the disk it takes nothing
_held: dict[Path, IO[str]] = {}
"""Entries that this process has open until it ends; its children have them open as long as they live."""


@dataclass(frozen=True)
class RemoteCache:
    """Entries below `folder`, of at most `max_bytes` together."""

    folder: Path
    max_bytes: int

    @classmethod
    def of_this_machine(cls) -> "RemoteCache":
        """As the environment says: SNAC_EXP_REMOTE_CACHE and SNAC_EXP_REMOTE_CACHE_GB.

        Raises:
            ConfigError: the second is no number above 0.
        """
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = Path(os.environ.get(FOLDER_VARIABLE) or f"{base}/snac_exp/remote").expanduser().absolute()
        said = os.environ.get(BYTES_VARIABLE) or str(DEFAULT_GB)
        try:
            max_bytes = int(float(said) * 10**9)
        except (ValueError, OverflowError):
            max_bytes = 0
        if max_bytes <= 0:
            raise ConfigError(f"{BYTES_VARIABLE}={said} must be a number of gigabytes above 0")
        return cls(folder, max_bytes)

    def local(self, url: str, wanted: Callable[[str], bool], *, deep: bool = False) -> Path:
        """The local folder with the wanted objects below an address, downloaded where they are not there as they are
        now; this process has it open from here on.

        wanted: told by an object's name below the address. deep: those in folders of it too.

        Raises:
            DataError: there is none, the store does not deliver them whole, they go on changing, or there is no room.
            ConfigError: no library here reads such addresses.
        """
        for number in range(ATTEMPTS):
            files = _wanted_files(url, wanted, deep)
            try:
                return self._entry(url, files)
            except ChangedError:
                pause(FIRST_PAUSE_SECONDS * 2**number)
        raise DataError(f"{url}: changed {ATTEMPTS} times while it was read; wait until it is written")

    def _entry(self, url: str, files: Sequence[RemoteFile]) -> Path:
        entry = self.folder / _name_of(url, files)
        while not self._opened(entry, files):
            self._fill(url, entry, files)
        return entry

    def _opened(self, entry: Path, files: Sequence[RemoteFile]) -> bool:
        """Whether the entry is there, whole; this process then keeps it from being evicted."""
        if entry in _held:
            if not _is_whole(entry, files):
                raise DataError(f"{entry}: somebody removed files of it while it was in use; give the command again")
            return True
        lock = open(self._lock_of(entry), "a", encoding="utf-8")  # noqa: SIM115 (open until the process ends)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not _is_whole(entry, files):
            lock.close()
            return False
        os.utime(entry)  # what was opened longest ago goes first
        _held[entry] = lock
        return True

    def _lock_of(self, entry: Path) -> Path:
        path = self.folder / "locks" / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _fill(self, url: str, entry: Path, files: Sequence[RemoteFile]) -> None:
        """Download an entry, unless another process has done so meanwhile."""
        with one_at_a_time(self._lock_of(entry)):
            if _is_whole(entry, files):
                return
            shutil.rmtree(entry, ignore_errors=True)  # what is left of it is not whole, and nobody has it open
            with folder_beside(entry) as temporary:
                self._make_room(url, temporary, sum(file.size for file in files))
                _download(files, temporary)
                (temporary / _PROMISED).unlink()
                temporary.rename(entry)

    def _make_room(self, url: str, temporary: Path, num_bytes: int) -> None:
        """Promise so many bytes to a download, evicting what nobody has open.

        Raises:
            DataError: there is no room for them.
        """
        with one_at_a_time(self.folder / "locks" / ".room"):
            remove_left(path for path in self.folder.glob(".*.tmp") if path != temporary)
            sizes = {path: _bytes_of(path) for path in self._entries()}
            for entry in sorted(self._entries(), key=lambda path: path.stat().st_mtime):
                if self._fits(num_bytes, sum(sizes.values())):
                    break
                if not entry.name.startswith(".") and self._evict(entry):
                    del sizes[entry]
            if not self._fits(num_bytes, sum(sizes.values())):
                raise self._no_room(url, num_bytes, sum(sizes.values()))
            with open(temporary / _PROMISED, "wb") as file:
                file.truncate(num_bytes)

    def _entries(self) -> Iterator[Path]:
        return (path for path in self.folder.glob("*") if path.is_dir() and path.name != "locks")

    def _fits(self, num_bytes: int, others: int) -> bool:
        return num_bytes + others <= self.max_bytes and num_bytes <= shutil.disk_usage(self.folder).free

    def _no_room(self, url: str, num_bytes: int, others: int) -> DataError:
        free = shutil.disk_usage(self.folder).free
        return DataError(
            f"{url}: its {_gb(num_bytes)} do not fit into {self.folder}: it may hold {_gb(self.max_bytes)}, of which "
            f"{_gb(others)} are in use, and its disk has {_gb(free)} left; raise {BYTES_VARIABLE}, or name another "
            f"disk by {FOLDER_VARIABLE}"
        )

    def _evict(self, entry: Path) -> bool:
        """Remove an entry; False where somebody has it open."""
        with open(self._lock_of(entry), "a", encoding="utf-8") as lock:
            if try_lock(lock.fileno()) != "held":
                return False
            shutil.rmtree(entry, ignore_errors=True)
            return True


def _wanted_files(url: str, wanted: Callable[[str], bool], deep: bool) -> list[RemoteFile]:
    there = list_files(url, deep=deep)
    files = [file for file in there if wanted(file.name)]
    if not files:
        names = ", ".join(file.name for file in there[:5]) or "nothing at all"
        raise DataError(f"{url}: nothing of what is wanted lies there, but {names}; check the address")
    return files


def _name_of(url: str, files: Sequence[RemoteFile]) -> str:
    """Of an entry: what a person recognises it by, and a digest of what it holds."""
    content = "\n".join([url, *(f"{file.name}\0{file.size}\0{file.version}" for file in files)])
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", url.split("://", 1)[1]).strip("._")[-80:]
    return f"{readable}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _is_whole(entry: Path, files: Sequence[RemoteFile]) -> bool:
    try:
        return all((entry / file.name).stat().st_size == file.size for file in files)
    except OSError:
        return False


def _download(files: Sequence[RemoteFile], folder: Path) -> None:
    """All of them into a folder, some at a time; the first failure ends it."""
    for parent in {(folder / file.name).parent for file in files}:
        parent.mkdir(parents=True, exist_ok=True)
    with _pool() as pool, progress_display("download", len(files)) as advance:
        for _ in pool.map(lambda file: fetch(file, folder / file.name), files):
            advance(1, "")


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(DOWNLOADS_AT_ONCE, "download")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _bytes_of(entry: Path) -> int:
    """Of all files of an entry; of one that is being downloaded, what it will have."""
    sizes = {}
    for parent, _, names in os.walk(entry):
        for name in names:
            try:
                sizes[name, parent] = os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue  # a download has just ended
    promised = sizes.pop((_PROMISED, str(entry)), 0)
    return max(promised, sum(sizes.values()))


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 10**9:.2f} GB"
