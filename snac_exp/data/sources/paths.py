"""Paths that lists hold, and where they lead."""

import os
from pathlib import Path

from snac_exp.errors import DataError


def placed_path(text: str, base: Path) -> str:
    """An absolute path without `..`: relative ones count from `base`."""
    if "://" in text:
        raise DataError(f"{text} is an address, and lists name files here; download it first")
    return os.path.normpath(base / Path(text).expanduser())
