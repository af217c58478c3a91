"""Which rows have a target file, by one listing for each folder."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.data.prepared.places import safe_join

TARGET_SUFFIXES = (".flac", ".wav", ".ogg")  # tried where the target has another format than its source


def paths_without_target(paths: Any, folder: Path) -> list[str]:
    """Those of the relative paths (an Arrow array) that have no target below a folder; millions take seconds."""
    # One listing per folder, compared in Arrow: asking for every file by itself takes far longer on network disks.
    parents = pc.replace_substring_regex(paths, "[^/]*$", "")
    names, stems = [], []
    for parent in pc.unique(parents).to_pylist():
        for name in _names(safe_join(folder, parent) if parent else folder):
            names.append(parent + name)
            stem, suffix = os.path.splitext(name)
            if suffix in TARGET_SUFFIXES:
                stems.append(parent + stem)
    without_suffix = pc.replace_substring_regex(paths, r"\.[^./]*$", "")
    found = pc.or_(pc.is_in(paths, pa.array(names, paths.type)), pc.is_in(without_suffix, pa.array(stems, paths.type)))
    missing: list[str] = paths.filter(pc.invert(found)).to_pylist()
    return missing


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        # All targets of a folder that is not there are missing, and are counted as such.
        return set()
