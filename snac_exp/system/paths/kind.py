"""What an existing file is, for messages about one that is not taken: told by its first bytes, never opened."""

import os
import struct
import zipfile
from pathlib import Path

from snac_exp.errors import SnacExpError

_MAGIC = (
    (b"fLaC", "audio (FLAC)"),
    (b"OggS", "audio (Ogg)"),
    (b"ID3", "audio (MP3)"),
    (b"\xff\xfb", "audio (MP3)"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"NPQ", "tokens (NPQ)"),
    (b"\x80\x02", "pickled objects"),
    (b"\x1f\x8b", "gzip"),
    (b"\x89PNG", "a picture"),
    (b"\x7fELF", "a program"),
    (b"version https://git-lfs", "Git LFS, a pointer that is not yet fetched (git lfs pull)"),
    (b"<", "HTML or XML"),
)
_ZIP = b"PK\x03\x04"
LOOKED_AT_BYTES = 512
_NO_ZIP = (
    zipfile.BadZipFile,
    OSError,
    ValueError,
    NotImplementedError,
    EOFError,
    LookupError,
    OverflowError,
    struct.error,
)
"""What zipfile raises where a directory of an archive is damaged."""
TORCH_KINDS = ("torch", "zip", "zip, damaged", "pickled objects")


def refuse_file(path: Path, wanted: str, error: type[SnacExpError]) -> None:
    """Where a folder is wanted and a file is there, say so; a path that is not there is left to the caller.

    Raises:
        error: names the file, what it is, and what is wanted, as "a folder that snac-exp prepare wrote".
    """
    if os.path.isfile(path):  # false where Path.is_file raises, as for a name that is too long
        raise error(f"{path} is {kind_of_file(path)}, not {wanted}")


def fault_of(path: Path, *expected: str) -> str:
    """Why a file cannot be read: `it is damaged` where it is what was expected, as "torch", else what it is."""
    kind = kind_of_file(path)
    known = kind.startswith("a file of ") and not kind.startswith("a file of a kind")
    return f"it is {kind}" if known and kind.removeprefix("a file of ") not in expected else "it is damaged"


def kind_of_file(path: Path) -> str:
    """`a file of text`, `a file of Parquet`, `an empty file`, …"""
    try:
        with open(path, "rb") as file:
            start = file.read(LOOKED_AT_BYTES)
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})"
    return _named(start, _in_zip(path) if start[:4] == _ZIP else None)


def kind_of_bytes(start: bytes) -> str:
    """The same by the first `LOOKED_AT_BYTES` of a file that lies within another."""
    return _named(start, "zip" if start[:4] == _ZIP else None)


def _named(start: bytes, archive: str | None) -> str:
    if not start:
        return "an empty file"
    content = archive or _content(start)
    return "a file of a kind that is not known here" if content is None else f"a file of {content}"


def _content(start: bytes) -> str | None:
    if start[:4] in (b"RIFF", b"RF64", b"RIFX") and start[8:12] == b"WAVE":
        return "audio (WAV)"
    if start[:4] == b"FORM" and start[8:11] == b"AIF":
        return "audio (AIFF)"
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < 2**27:  # the length of its header
        return "safetensors"
    found = next((content for magic, content in _MAGIC if start.startswith(magic)), None)
    return found or _text(start)


def _in_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _NO_ZIP:
        return "zip, damaged"
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    return "NumPy arrays (npz)" if names and all(name.endswith(".npy") for name in names) else "zip"


def _text(start: bytes) -> str | None:
    """JSON or other text; the last character of what was read may be cut in two."""
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:
            return None
        text = start[: error.start].decode("utf-8")
    if "\0" in text:
        return None
    return "JSON" if text.lstrip()[:1] in ("{", "[") else "text"
