"""Which folders are runs and sweeps. A folder is looked through again only once something was added or removed."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from snac_exp.status.folders import NOT_RUNS
from snac_exp.system.files import is_half_written
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.sweep_folder import SweepFolder

_SETTLED_NS = 2_000_000_000  # a folder that changed less than this before it was read may change once more unnoticed


@dataclass
class _Known:
    """A folder as it was found. kind: run, sweep, or none."""

    kind: str = ""
    changed_ns: int = -1
    folders: list[Path] = field(default_factory=list)


class Folders:
    """All below one folder; links to folders are not followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, _Known] = {}

    def runs_and_sweeps(self) -> list[tuple[Path, bool]]:
        """Each with whether it is a sweep, whose jobs its ledger lists; by name."""
        before, self._known = self._known, {}
        return list(self._walk(self._folder, before))

    def _walk(self, path: Path, before: dict[Path, _Known]) -> Iterator[tuple[Path, bool]]:
        known = before.get(path, _Known())
        if not known.kind:
            known = self._looked_through(path, known)
        self._known[path] = known
        if known.kind:
            yield path, known.kind == "sweep"
        else:
            for inner in known.folders:
                yield from self._walk(inner, before)

    def _looked_through(self, path: Path, known: _Known) -> _Known:
        try:
            changed = os.stat(path).st_mtime_ns
            if changed == known.changed_ns:
                return known
            kind = "sweep" if SweepFolder(path).exists else "run" if RunFolder(path).exists else ""
            folders = [] if kind else sorted(_folders_of(path))
        except OSError:  # removed since its parent was read, or not for us to read: nothing of it can be shown
            return _Known()
        settled = time.time_ns() - changed > _SETTLED_NS
        return _Known(kind, changed if settled else -1, folders)


def _folders_of(path: Path) -> Iterator[Path]:
    with os.scandir(path) as entries:
        for entry in entries:
            is_other = entry.name in NOT_RUNS or is_half_written(entry.name)
            if not is_other and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
