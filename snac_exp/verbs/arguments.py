"""Arguments of verbs about folders of runs: `VERB DIR… key=value …`."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from snac_exp.config.arguments import is_path, unquoted
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.system.paths.kind import refuse_file


def folders_and_options(arguments: Sequence[str], keys: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Folders and `key=value` arguments apart. `KEY=…` of a known key is an option, whatever files there are.

    Raises:
        ConfigError: an argument is neither a folder nor one of the keys.
    """
    folders, options = [], []
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        # A known key is an option even where a folder of that name, such as `seed=1`, exists.
        if equals and name in keys:
            options.append(argument)
        elif Path(argument).expanduser().is_dir():
            folders.append(Path(argument).expanduser())
        elif not is_path(argument):
            raise ConfigError(f"there is no key '{name}' and no folder '{argument}'{nearest(name, keys)}")
        else:
            refuse_file(Path(argument).expanduser(), "the folder of a run or a sweep", ConfigError)
            raise ConfigError(f"there is no folder {argument}")
    return folders, options


def seconds_of(options: Mapping[str, str], key: str) -> float:
    """The number of seconds that an option names.

    Raises:
        ConfigError: it is no number, or below zero.
    """
    try:
        seconds = float(options[key])
    except ValueError:
        # NaN fails the comparison below, with the same message.
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{key}={options[key]} is no number of seconds")
    return seconds


def listed(value: str) -> list[str]:
    """The texts that an option names: `[a,b]` are two, anything else is one, and nothing is none."""
    is_list = value.startswith("[") and value.endswith("]")
    parts = value[1:-1].split(",") if is_list else [value]
    return [unquoted(part.strip()) for part in parts if part.strip()]


def folders_and_words(arguments: Sequence[str], keys: Sequence[str]) -> tuple[list[Path], list[str], dict[str, str]]:
    """Folders, the words behind them, and the options; what comes before the first word and is a folder is one.

    Raises:
        ConfigError: no folder comes first.
    """
    folders, words, options = list[Path](), list[str](), dict[str, str]()
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in keys:
            options[name] = value
        # False, where Path.is_dir raises, for a text that is too long for a path.
        elif not words and argument and os.path.isdir(os.path.expanduser(argument)):
            folders.append(Path(argument).expanduser())
        else:
            words.append(argument)
    if not folders and words:
        refuse_file(Path(words[0]).expanduser(), "the folder of a run or a sweep", ConfigError)
        raise ConfigError(f"there is no folder {words[0]}; the folders of runs or sweeps come first")
    return folders, words, options


def folder_and_options(
    verb: str, arguments: Sequence[str], defaults: Mapping[str, str], folder: Path | None, key: str = "directory"
) -> tuple[Path, dict[str, str]]:
    """The folder, given as DIR or as `key=DIR` (None: it must be given), and the options with their defaults.

    Raises:
        ConfigError: no folder, one that is not there, or an unknown key.
    """
    options = dict(defaults)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in defaults:
            options[name] = value
        elif equals and name == key:
            folder = Path(value).expanduser()
        elif is_path(argument):
            folder = Path(argument).expanduser()
        else:
            raise ConfigError(f"snac-exp {verb} has no key {name}={nearest(name, [*defaults, key])}")
    if folder is None:
        raise ConfigError(f"snac-exp {verb} needs a folder: snac-exp {verb} {key}=DIR")
    if not folder.is_dir():
        refuse_file(folder, "the folder of a run or a sweep", ConfigError)
        raise ConfigError(f"there is no folder {folder}")
    return folder, options
