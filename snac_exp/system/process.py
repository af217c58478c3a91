"""How a process of ours is started so that it runs the code it should: this checkout's, or a sweep's snapshot."""

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import snac_exp
from snac_exp.errors import ConfigError

TRIAL = "SNAC_EXP_TRIAL"  # set where a sweep starts a run, so that its search may prune it; by hand nobody does
ENTRY = "snac_exp.verbs.training.train"  # a command, named and not imported: it lies above all who start it


def code_root() -> Path:
    """The folder that holds the package running now."""
    return Path(snac_exp.__file__).resolve().parents[1]


def code_environment(root: Path) -> dict[str, str]:
    """Variables that put `root` before an editable install and keep the working directory off the module path.

    Raises:
        ConfigError: the path cannot stand in PYTHONPATH.
    """
    if os.pathsep in str(root):
        raise ConfigError(f"{root} holds '{os.pathsep}', which separates paths in PYTHONPATH; use another output_dir")
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {"PYTHONPATH": os.pathsep.join([str(root), *others]), "PYTHONSAFEPATH": "1"}


def resume_command(run_dir: Path, root: Path | None = None) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a process that begins or goes on with the run in a folder."""
    command = [sys.executable, "-m", ENTRY, f"resume={run_dir.resolve()}"]
    return command, os.environ | code_environment(root or code_root())


def resume_here(run_dir: Path) -> int:
    """The same within this process, which a scheduler has started for that alone: its signals reach the run directly.

    Returns the exit status; whatever the run raises is raised here.
    """
    before = os.environ.get(TRIAL)
    os.environ[TRIAL] = "1"
    try:
        status: int = importlib.import_module(ENTRY).resume_run(run_dir)
    finally:
        # What this process starts or runs afterwards is no job of that sweep.
        del os.environ[TRIAL]
        os.environ |= {} if before is None else {TRIAL: before}
    return status


def without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what a surrounding SLURM job exports, which a process of its own would take for its own job's."""
    return {name: value for name, value in environment.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
