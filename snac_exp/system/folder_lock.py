"""One writer per folder, on one machine and across machines: the kernel's lock and the name of the holder."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from snac_exp.errors import ConfigError
from snac_exp.system.checksums.json_digest import verified
from snac_exp.system.checksums.json_lines import signed_line
from snac_exp.system.locks import lock_now
from snac_exp.system.owner import Owner
from snac_exp.system.paths.writing import write_whole
from snac_exp.system.slurm_queue import current_job

LOCK_FILE = ".lock"
# A killed process's data workers hold its kernel lock until they notice, some seconds later.
WORKERS_LINGER_SECONDS = 20.0
# After a requeue SLURM may start a job before the last process of its former start has ended.
FORMER_START_LINGERS_SECONDS = 90.0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder; the file names the holder and is empty when nobody holds it.

    The kernel's lock stops a second process on this machine (and on file systems that share locks). Where they are not
    shared the name in the file stops it: it is passed over only when that process is provably gone.

    Raises:
        ConfigError: another process holds the folder, or one on another machine may.
    """
    path = folder / LOCK_FILE
    with open(path, "a+", encoding="utf-8") as file:
        _wait_for_kernel_lock(file, folder)
        holder = _holder(file)
        if holder is not None and not holder.is_here and not holder.is_gone():
            raise ConfigError(
                f"{folder} was being written by {holder}, and nothing proves that it has ended; if you know that it "
                f"has, remove {path}"
            )
        _write(file, signed_line(Owner.me().as_dict()))
        try:
            yield
        finally:
            _write(file, "")


def holder_of(folder: Path) -> Owner | None:
    """Who holds a folder, or held it when it was killed."""
    path = folder / LOCK_FILE
    if not path.exists():
        return None
    with open(path, encoding="utf-8") as file:
        return _holder(file)


def _wait_for_kernel_lock(file: TextIO, folder: Path) -> None:
    begun = time.monotonic()
    while True:
        try:
            lock_now(file)
            return
        except BlockingIOError as error:
            holder = _holder(file)
            if time.monotonic() - begun >= _seconds_to_wait(holder):
                raise ConfigError(
                    f"{folder} is being written by {holder or 'another process'}; stop that first"
                ) from error
        time.sleep(0.2)


def _seconds_to_wait(holder: Owner | None) -> float:
    """Seconds worth waiting for the lock."""
    if holder is None:
        return 1.0  # between taking the lock and writing the name
    if holder.slurm_job_id is not None and holder.slurm_job_id == current_job() and holder.pid != os.getpid():
        return FORMER_START_LINGERS_SECONDS
    return 0.0 if holder.is_running_here() else WORKERS_LINGER_SECONDS


def _holder(file: TextIO) -> Owner | None:
    file.seek(0)
    text = file.read()
    try:
        return Owner.from_dict(verified(json.loads(text))) if text.strip() else None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError(
            f"{file.name} is damaged and does not say who writes this folder; if nobody does, remove it"
        ) from None


def _write(file: TextIO, text: str) -> None:
    # Not through the buffer, which would be written once more when the file is closed, in vain, on a full disk.
    os.ftruncate(file.fileno(), 0)
    with open(file.fileno(), "ab", buffering=0, closefd=False) as raw:
        write_whole(raw, text.encode(), Path(file.name))
    os.fsync(file.fileno())
