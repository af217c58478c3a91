"""Command-line arguments `key=value` as Hydra overrides, with paths of any spelling.

Hydra's grammar gives meaning to spaces, commas, `=`, quotes, brackets and `~`. A path may contain all of them, so
values of keys that hold paths are quoted before the grammar sees them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from snac_exp.errors import ConfigError

PATH_KEYS = ("path", "input", "output", "checkpoint", "directory", "manifest", "audio_root")
PATH_ENDINGS = ("_dir", "_path", "_root", "_file")


def hydra_overrides(arguments: Sequence[str], path_keys: Sequence[str] = ()) -> list[str]:
    """Quote the path values among `key=value` arguments; everything else stays as it is.

    `path_keys` names further keys whose values are paths here.

    Raises:
        ConfigError: an argument is no `key=value` (nor `~key`, which removes a key).
    """
    return [_override(argument, path_keys) for argument in arguments]


def is_path_key(name: str) -> bool:
    """Whether the values of keys of this name are paths."""
    return name in PATH_KEYS or name.endswith(PATH_ENDINGS)


def _override(argument: str, path_keys: Sequence[str]) -> str:
    key, equals, value = argument.partition("=")
    if not equals and not argument.startswith("~"):
        raise ConfigError(f"'{argument}' is no key=value; write key={argument}, with the key it is meant for")
    name = key.lstrip("+").rsplit(".", 1)[-1]
    if not (name in path_keys or is_path_key(name)) or value in ("", "null"):
        return argument
    if unquoted(value) != value:
        return argument  # quoted for Hydra already
    return f"{key}={quoted(value)}"


def quoted(path: str) -> str:
    """A path as a quoted string of Hydra's grammar; a leading `~/` becomes the home folder."""
    if path == "~" or path.startswith("~/"):
        path = str(Path(path).expanduser())
    path = re.sub(r"(\\*)\$\{", r"\1\1\\${", path)  # an interpolation is meant as the letters it has
    path = re.sub(r"(\\*)'", r"\1\1\'", path)
    return "'" + re.sub(r"(\\+)$", r"\1\1", path) + "'"


def unquoted(value: str) -> str:
    """A value without the quotes that somebody put around it for Hydra."""
    return value[1:-1] if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0] else value
