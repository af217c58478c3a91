"""Packages that metrics need: where they lie, and what to say where they are missing."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from snac_exp.errors import ConfigError

MEND = "pip install 'snac_exp[quality]'"


def missing_of(*modules: str) -> Callable[[], str | None]:
    """What says why these modules of the extra `[quality]` cannot be had; None where they can."""

    def missing() -> str | None:
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        return f"the package {' and '.join(absent)} is not installed: {MEND}" if absent else None

    return missing


def file_of(module: str, *parts: str) -> Path:
    """A file that a package brings along, without importing the package.

    Raises:
        ConfigError: the package is not installed, or lacks the file.
    """
    found = importlib.util.find_spec(module)
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        path = Path(folder).joinpath(*parts)
        if path.is_file():
            return path
    raise ConfigError(f"the package {module} with its file {'/'.join(parts)} is not installed: {MEND}")
