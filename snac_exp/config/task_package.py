"""The package of a task, found by its name: what it checks before torch is imported, and what it builds.

A task is a package with two doors: `checks.check(experiment)`, which imports no torch and raises a ConfigError, and
`build.build(experiment)`, which gives a `snac_exp.training.setup.TrainingSetup`. `task.name` is its name among the
packages of snac_exp/training, or the dotted path of a package of one's own.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Literal

from snac_exp.config.source_code import module_file
from snac_exp.config.structure import nearest
from snac_exp.config.trusted_code import check_trusted
from snac_exp.errors import ConfigError

ROOM = Path(__file__).parents[1] / "training"


def door_of(name: str, door: Literal["build", "checks"]) -> ModuleType:
    """A module of the task `name`.

    Raises:
        ConfigError: there is no such task; names the nearest one.
    """
    package = name if "." in name else f"snac_exp.training.{name}"
    file = module_file(f"{package}.{door}")
    if file is None:
        there = sorted(path.parent.name for path in ROOM.glob(f"*/{door}.py"))
        raise ConfigError(
            f"task.name={name} is no task: there is no module {package}.{door}{nearest(name, there)}, "
            "or give the path of a package of your own with build.py and checks.py"
        )
    # Before the import, which runs the module.
    check_trusted(package, file, f"task.name={name}")
    return importlib.import_module(f"{package}.{door}")
