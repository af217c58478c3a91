"""Files of an exported codec, whose SHA-256 its folder lists."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snac_exp.system.files import read_json

DESCRIPTION_FILE = "snac_exp.json"  # beside the weights, and goes with them to the hub
INDEX_FILE = "export.json"  # of the whole folder, on the machine that exported it
KEY = "files"


def verify_listed(path: Path) -> bool:
    """Compare a file with the first list that names it: 1.2 s per GB. Whether any does.

    Raises:
        ValueError: it is not the file that was exported, or a list is damaged. OSError: it cannot be read.
    """
    for listed in _lists_about(path):
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != listed:
                raise ValueError("it is not the file that was exported: its SHA-256 is another")
        return True
    return False


def _lists_about(path: Path) -> Iterator[object]:
    """What lists have of a file, the nearest first."""
    folder = path.absolute().parent
    for place, name in (
        (folder / DESCRIPTION_FILE, path.name),
        (folder / INDEX_FILE, path.name),
        (folder.parent / INDEX_FILE, f"{folder.name}/{path.name}"),
    ):
        if place.is_file() and name in (files := _files(place)):
            yield files[name]


def _files(place: Path) -> dict[str, Any]:
    """Names and digests of a list; none of a file that lists nothing."""
    try:
        values = read_json(place)
    except ValueError as error:
        raise ValueError(f"{place} is damaged ({error})") from None
    files = values.get(KEY) if isinstance(values, dict) else None
    return files if isinstance(files, dict) else {}
