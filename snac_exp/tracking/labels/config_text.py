"""The few words of a stored config that stand in tables, found in its text: to parse all of it for thousands of runs
would take minutes."""

import re
from pathlib import Path
from typing import Any

import yaml

from snac_exp.errors import ConfigError
from snac_exp.tracking.labels.words import composed

_NAME = re.compile(r"^name: .+\n", re.MULTILINE)
# Empty lines too: a text of several lines has them.
_TRACKER = re.compile(r"^tracker:\n(?:(?:  .*)?\n)*", re.MULTILINE)


def name_of(path: Path, text: str) -> str:
    """The recipe's name in the text of the config at `path`; empty where it has none.

    Raises:
        ConfigError: the line is no YAML.
    """
    return str(_parsed(path, _NAME.search(text)).get("name", ""))


def tags_of(path: Path, text: str) -> list[str]:
    """`tracker.tags`, in the form of other tags.

    Raises:
        ConfigError: the lines are no YAML.
    """
    tracker = _parsed(path, _TRACKER.search(text)).get("tracker")
    tags = tracker.get("tags") if isinstance(tracker, dict) else None
    return [composed(str(tag)) for tag in tags] if isinstance(tags, list) else []


def _parsed(path: Path, found: "re.Match[str] | None") -> dict[str, Any]:
    try:
        values = yaml.safe_load(found[0]) if found is not None else {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is damaged ({str(error).splitlines()[0]}); restore it") from None
    return values if isinstance(values, dict) else {}
