"""JSON files that hold an object, which a person may have cut or edited."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError
from snac_exp.system.files import read_json


def read_object(path: Path, required: Collection[str] = ()) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: it is damaged, or lacks one of the required keys.
    """
    try:
        values = read_json(path)
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}); restore it or remove it") from error
    # A list or a number is JSON too; then it lacks everything.
    missing = sorted(set(required) - values.keys()) if isinstance(values, dict) else sorted(required)
    if missing or not isinstance(values, dict):
        raise ConfigError(f"{path} is damaged: it lacks {', '.join(missing)}; restore it or remove it")
    return values
