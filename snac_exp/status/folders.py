"""Which folders below one are runs and sweeps."""

import os
from collections.abc import Iterator
from pathlib import Path

from snac_exp.system.files import is_half_written
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.sweep_folder import SweepFolder

TRASH = ".trash"
"""Of an outputs folder: what `snac-exp clean` took out of it."""

# Folders that hold no runs, and some of them very many files: they are not walked through.
NOT_RUNS = frozenset({"code", "checkpoints", "samples", "wandb", "slurm", TRASH})


def runs_and_sweeps(folder: Path) -> Iterator[Path]:
    """Sweeps, and runs that are in no sweep, unless it is the folder itself; links to folders are not followed."""
    for name, folders, _ in os.walk(folder):
        if SweepFolder(Path(name)).exists or RunFolder(Path(name)).exists:
            yield Path(name)
            folders.clear()  # in place: os.walk goes no deeper
        else:
            folders[:] = sorted(item for item in folders if item not in NOT_RUNS and not is_half_written(item))
