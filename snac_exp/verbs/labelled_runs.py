"""The run folders that people tag or write notes to: a sweep stands for its jobs."""

from collections.abc import Sequence
from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.sweeps.sweep import Sweep
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.sweep_folder import SweepFolder


def labelled_runs(verb: str, folders: Sequence[Path]) -> list[RunFolder]:
    """The run folders, each once; jobs of a sweep that have none, as they were refused or deleted, are left out.

    Raises:
        ConfigError: no folder is given, one is neither a run nor a sweep, or a sweep has no job with a run folder.
    """
    if not folders:
        raise ConfigError(f"which run? snac-exp {verb} RUN …")
    found: dict[Path, RunFolder] = {}
    for folder in folders:
        for run in _jobs(folder) if SweepFolder(folder).exists else [RunFolder.open(folder)]:
            found.setdefault(run.path.resolve(), run)
    return list(found.values())


def _jobs(folder: Path) -> list[RunFolder]:
    sweep = Sweep.open(folder)
    runs = [RunFolder(folder / row.run_dir) for row in sweep.rows()]
    there = [run for run in runs if run.exists]
    if not there:
        raise ConfigError(f"no job of the sweep {folder} has a run folder")
    return there
