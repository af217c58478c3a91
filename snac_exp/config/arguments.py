"""Command-line arguments `key=value` as Hydra overrides, with paths of any spelling.

Hydra's grammar gives meaning to spaces, commas, `=`, quotes, brackets and `~`. A path may contain all of them, so
values of keys that hold paths are quoted before the grammar sees them. In a sweep commas separate values, of paths too,
unless a file or folder of that very name is there; a path in quotes of its own is never taken apart.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.system.remote.urls import is_url

PATH_KEYS = (
    "path", "input", "output", "checkpoint", "directory", "manifest", "audio_root", "init_from", "val_list",
    "pretrained",
)  # fmt: skip
PATH_ENDINGS = ("_dir", "_path", "_root", "_file")
ADDRESS_KEYS = ("cache_dir", "directory", "data", "prepared", "data.path", "audio_root", "target_dir")
"""Keys of folders that may lie in a store, like s3://bucket/folder."""
NEVER_SWEPT = "output_dir"  # one place for all jobs, which need not be there yet
# A quoted string, or text up to the next comma; then that comma or the end.
PIECE = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,]*?)\s*(?:,|$)""")


def hydra_overrides(
    arguments: Sequence[str], path_keys: Sequence[str] = (), *, sweeping: bool = False, addresses: tuple[str, ...] = ()
) -> list[str]:
    """Quote the path values among `key=value` arguments; everything else stays as it is.

    `path_keys` names further keys whose values are paths here. `sweeping`: a value may be several paths, see
    `listed_paths`. `addresses`: beginnings of arguments whose address is meant, like input=hf://.

    Raises:
        ConfigError: an argument is no `key=value` (nor `~key`, which removes a key), an empty path in a list, or an
            address in a store where only a path is possible.
    """
    return [
        quoted_address(argument)
        if argument.startswith(addresses)
        else _override(argument, path_keys, sweeping=sweeping)
        for argument in arguments
    ]


def quoted_address(argument: str) -> str:
    """`key=ADDRESS` as an override."""
    key, _, value = argument.partition("=")
    return f"{key}={quoted(value)}"


def is_path_key(name: str) -> bool:
    """Whether the values of keys of this name are paths."""
    return name in PATH_KEYS or name.endswith(PATH_ENDINGS)


def is_path(argument: str) -> bool:
    """Whether an argument of a verb is a path by itself and no `key=value`: names of keys hold no separator, and a path
    that is there is meant as such."""
    name, equals, _ = argument.partition("=")
    return not equals or os.sep in name or os.path.exists(os.path.expanduser(argument))


def listed_paths(value: str) -> list[str]:
    """The paths that a sweep's value means: one where it names what is there, else those between its commas.

    Quotes around a path keep it whole, whatever is there: 'a,b','c'. A value choice(a,b) means a,b.

    Raises:
        ConfigError: two commas with nothing between them.
    """
    if "," not in value or os.path.exists(os.path.expanduser(value)):
        return [value]
    if value.startswith("choice(") and value.endswith(")"):
        value = value[len("choice(") : -1]
    pieces, end = [], 0
    # A comma at the end has one more piece behind it, an empty one.
    while end < len(value) or value[end - 1] == ",":
        found = PIECE.match(value, end)
        assert found is not None  # the pattern matches any text
        pieces.append(found[1])
        if found.end() == end:
            break
        end = found.end()
    if "" in pieces:
        raise ConfigError(f"'{value}' has an empty path between its commas; quote a path that holds commas: 'a,b'")
    return pieces


def _override(argument: str, path_keys: Sequence[str], *, sweeping: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals and not argument.startswith("~"):
        raise ConfigError(f"'{argument}' is no key=value; {_mended(argument)}")
    name = key.lstrip("+").rsplit(".", 1)[-1]
    if not (name in path_keys or is_path_key(name)) or value in ("", "null"):
        return argument
    paths = listed_paths(value) if sweeping and name != NEVER_SWEPT else [value]
    for path in paths:
        if is_url(unquoted(path)) and not {name, key.lstrip("+")} & {*ADDRESS_KEYS}:
            raise ConfigError(
                f"{key}={unquoted(path)}: {name} is a path on this machine; addresses are read by "
                f"{', '.join(ADDRESS_KEYS)} alone, copy the folder here or there"
            )
    return f"{key}={','.join(path if unquoted(path) != path else quoted(path) for path in paths)}"


def _mended(argument: str) -> str:
    if argument.startswith("-"):
        return f"keys have no dashes: {argument.strip('-') or 'key'}=VALUE"
    return f"write key={argument}, with the key it is meant for; a value with spaces needs quotes, 'key=a b'"


def quoted(path: str) -> str:
    """A path as a quoted string of Hydra's grammar; a leading `~/` becomes the home folder."""
    if path == "~" or path.startswith("~/"):
        path = str(Path(path).expanduser())
    path = re.sub(r"(\\*)\$\{", r"\1\1\\${", path)  # an interpolation is meant as the letters it has
    # Hydra leaves backslashes alone in quotes, except those before a quote or at the end, which escape.
    path = re.sub(r"(\\*)'", r"\1\1\'", path)
    return "'" + re.sub(r"(\\+)$", r"\1\1", path) + "'"


def unquoted(value: str) -> str:
    """A value without the quotes that somebody put around it for Hydra."""
    return value[1:-1] if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0] else value
