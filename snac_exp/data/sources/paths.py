"""Paths that lists hold: where they lead, and the folder below which all of them lie."""

import os
from collections.abc import Sequence
from pathlib import Path

from snac_exp.errors import DataError


def placed_path(text: str, base: Path) -> Path:
    """An absolute path without `..`: relative ones count from `base`."""
    if "://" in text:
        raise DataError(f"{text} is an address, and lists name files here; download it first")
    return Path(os.path.normpath(base / Path(text).expanduser()))


def common_root(base: Path, files: Sequence[Path]) -> Path:
    """`base` where all files lie below it, else the innermost folder that holds them and it not necessarily."""
    if all(file.is_relative_to(base) for file in files):
        return base
    return Path(os.path.commonpath([file.parent for file in files]))
