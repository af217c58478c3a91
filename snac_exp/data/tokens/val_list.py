"""The text file that names the validation files: one relative path a line, lines with # are comments.

The lists that this program writes begin with a checksum of the paths. Whoever changes such a list takes that line out;
lists of one's own need none.
"""

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from snac_exp.errors import DataError
from snac_exp.system.files import write_text

_START = "# crc32"


def write_val_list(path: Path, names: Iterable[str]) -> None:
    """A list with its checksum, atomically."""
    lines = list(names)
    write_text(path, "".join(f"{line}\n" for line in (_first_line(lines), *lines)))


def read_val_list(path: Path) -> list[str]:
    """The paths that are listed.

    Raises:
        DataError: there is no text, or not the list that was written.
    """
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.val_list: cannot read {path} ({error}); name a text file of paths") from error
    lines = [line.strip() for line in text.splitlines()]
    listed = [line for line in lines if line and not line.startswith("#")]
    if text.startswith(_START) and lines[0] != _first_line(listed):
        raise DataError(
            f"{path}: damaged or changed, its paths do not match the checksum in the first line; make the list again, "
            "or take the first line out if you changed it"
        )
    return listed


def _first_line(listed: Sequence[str]) -> str:
    checksum = zlib.crc32("\n".join(listed).encode())
    return f"{_START} {checksum:08x} of the paths below; take this line out if you change them"
