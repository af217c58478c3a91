"""The audio of a Parquet file once more as a tar, in which rows are read in place.

Parquet compresses whole row groups: a slice of one row would cost hundreds. The tar is whole or absent, says of which
file it is, and is kept as long as that has not changed.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.files.recording import Bytes
from snac_exp.data.files.scan import AUDIO_SUFFIXES, stamp
from snac_exp.data.sources.tars import members
from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path, left_beside, remove_left
from snac_exp.system.progress import progress_display

UNPACKED_DIR = "audio"
ROWS_AT_ONCE = 16  # with their audio, some tens of MB
_OF = "made_of.txt"  # the first member: which file the others were made of


def unpack(table: Path, column: str, tar: Path) -> Iterator[tuple[int, Bytes]]:
    """Numbers of the rows that have bytes, in order, and where these lie in the tar; it is written unless it is there.

    Raises:
        DataError: the tar is damaged. Arrow's own errors: the table is.
    """
    of = " ".join(map(str, (table.name, column, *stamp(table))))
    if not _is_of(tar, of):
        tar.parent.mkdir(parents=True, exist_ok=True)
        remove_left(left_beside(tar))
        with atomic_path(tar) as temporary:
            _write(table, column, temporary, of)
    return ((int(PurePosixPath(name).stem), place) for name, place in members(tar) if name != _OF)


def _is_of(tar: Path, of: str) -> bool:
    if not tar.exists():
        return False
    try:
        with tarfile.open(tar, "r:") as archive:
            first = archive.next()
            content = archive.extractfile(first) if first is not None and first.name == _OF else None
            return content is not None and content.read().decode() == of
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise DataError(f"{tar}: damaged ({error}); delete it, it is then made again") from error


def _write(table: Path, column: str, tar: Path, of: str) -> None:
    with (
        pq.ParquetFile(table) as file,
        tarfile.open(tar, "w:") as archive,
        progress_display(f"unpacking {table.name}", file.metadata.num_rows) as advance,
    ):
        _add(archive, _OF, of.encode())
        number = 0
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[column], use_threads=False):
            for value in batch.column(0):
                data, path = _bytes_and_path(value)
                if data is not None:
                    suffix = PurePosixPath(path or "").suffix.lower()
                    _add(archive, f"{number:08d}{suffix if suffix in AUDIO_SUFFIXES else ''}", data)
                number += 1
            advance(len(batch), "")


def _bytes_and_path(value: Any) -> tuple[Any, str | None]:
    """The buffer of a value, null if it has none, and the name it had."""
    if not pa.types.is_struct(value.type):
        return value.as_buffer(), None
    if not value.is_valid:
        return None, None
    return value["bytes"].as_buffer(), value["path"].as_py() if "path" in value else None


def _add(archive: tarfile.TarFile, name: str, data: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
    archive.members.clear()  # type: ignore[attr-defined] # it would keep all of them, a kilobyte each
