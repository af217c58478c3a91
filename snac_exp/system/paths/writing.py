"""Writing: whole or not at all, and what the system refuses, as on a full disk, names the file and the mend."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from snac_exp.errors import SnacExpError

_MAKE_ROOM = "free disk space and run the command again (a run: with resume=); everything written before is intact"
_PERMIT = "change its permissions, or give another path"
_MENDS = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "raise the limit (ulimit -f) or use another file system; everything written before is intact",
    errno.EROFS: "give a path on a file system that is not read-only, or have it mounted for writing",
    errno.EACCES: _PERMIT,
    errno.EPERM: _PERMIT,
}
_WITHOUT_A_NAME = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What writing through an open file meets, whose errors name no file."""
_PROBE_BYTES = 1 << 20


def mend_of(error: OSError) -> str:
    """`; …` with what a person can do about it; empty where nothing is known."""
    mend = _MENDS.get(error.errno or 0)
    return "" if mend is None else f"; {mend}"


def require_writable(folder: Path) -> None:
    """To be asked before work that takes long, of the folder that it is to write in the end; leaves nothing there.

    Raises:
        OSError: it, or what is to hold it, is no folder, or takes no files.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    try:
        # By a file, not by permissions: root has them all, also where nothing can be written.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), str(folder)) from error


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Around writing `path`, or the temporary file or folder that is to become it: refusals of the system name `path`.

    Raises:
        OSError: with `path`, or what is to lie in it, as its filename; also where a library has hidden the refusal.
    """
    written = temporary or path
    try:
        yield
    except SnacExpError:
        raise
    except Exception as error:
        number, name = _refusal(error, written) or (_hidden_refusal(error, written), written)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path / name.relative_to(written))) from error


def _refusal(error: BaseException | None, written: Path) -> tuple[int | None, Path] | None:
    """Number and file of the system's refusal that an error comes of, if it is about what is written."""
    while error is not None:
        if isinstance(error, OSError):
            # Renaming and copying name two files.
            names = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if name is not None]
            ours = [name for name in names if name.is_relative_to(written)]
            if ours or (not names and error.errno in _WITHOUT_A_NAME):
                return error.errno, (*ours, written)[0]
        error = error.__cause__ or error.__context__
    return None


def _hidden_refusal(error: Exception, written: Path) -> int | None:
    """Whether the file takes no more: torch and soundfile do not say why they could not write, and safetensors, which
    is written in Rust, says it in words alone."""
    said = re.search(r"\(os error (\d+)\)", str(error))
    if said is not None:
        return int(said[1])
    if isinstance(error, OSError) or not written.is_file():
        return None
    try:
        with open(written, "ab", buffering=0) as file:
            write_whole(file, bytes(_PROBE_BYTES), written)
    except OSError as refusal:
        return refusal.errno
    return None


def append_line(path: Path, line: str, *, sync: bool = False) -> None:
    """Append a line, given without its end; sync: it is on the disk when this returns.

    Raises:
        OSError: names `path`, which then is as it was.
    """
    with open(path, "ab", buffering=0) as file:
        write_whole(file, f"{line}\n".encode(), path)
        if sync:
            os.fsync(file.fileno())


def write_whole(file: IO[bytes], content: "bytes | memoryview", path: Path) -> None:
    """Append to the file of `path`, which was opened unbuffered: all of `content`, or nothing and an OSError."""
    before = os.fstat(file.fileno()).st_size
    rest = memoryview(content)
    try:
        with naming(path):
            while rest:  # a disk that is nearly full takes a part without an error
                rest = rest[file.write(rest) :]
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise
