"""What a run keeps of itself in YAML, config.yaml and overrides.yaml: one writer, and one reader that trusts nothing.

Such a file has plain values only. Its digest stands in a line of its own, `# sha256 HEX`, above the values; files of
earlier versions have none.
"""

import hashlib
import re
from copy import deepcopy
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snac_exp.errors import ConfigError

_MOST_BYTES = 1_000_000  # a config has 5,000
_MOST_LEVELS = 32
_DIGEST = re.compile(rb"\A(?:#[^\n]*\n)*?# sha256 ([0-9a-f]{64})\n")
_REMAINS = re.compile(rb"# sha256|^#.*[0-9a-f]{16}", re.MULTILINE)
_OLD_COMMENT = b"# The resolved config of this run; resume reads this file and nothing else."

_MEND = (
    "restore it, or start a new run with the wanted values: python train.py … init_from=RUN "
    "(if only a path has moved, change it and remove the line `# sha256 …`)"
)


def stored_yaml(value: Any, comment: str = "") -> str:
    """The text of a stored file: a comment (whole lines, each with its `#`), the digest, the values."""
    text = OmegaConf.to_yaml(value)
    return f"{comment}# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def read_stored(path: Path) -> Any:
    """The plain values, with interpolations left as they are.

    Raises:
        ConfigError: it cannot be read, was changed, or holds what no run writes: aliases, tags, keys twice, values
            nested without end. Says how to begin a run with other values.
    """
    try:
        data = path.read_bytes()
        _verify(data)
        return deepcopy(_parsed(data.decode()))
    except yaml.MarkedYAMLError as error:
        place = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise _refused(path, f"{error.problem}{place}") from None
    except (OSError, ValueError, TypeError, ArithmeticError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise _refused(path, (str(error).splitlines() or [type(error).__name__])[0]) from None


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """The plain values of a text, parsed once: a command reads a run's config at several places. Not to be changed."""
    _require_plain(text)
    return OmegaConf.to_container(OmegaConf.load(StringIO(text)))


def verify_stored(path: Path) -> str:
    """The text of a stored file, verified by its digest and not parsed, which takes a hundred times as long.

    Raises:
        ConfigError: it cannot be read, or was changed.
    """
    try:
        data = path.read_bytes()
        _verify(data)
        return data.decode()
    except (OSError, ValueError) as error:
        raise _refused(path, str(error).splitlines()[0]) from None


def _refused(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"{path} is not the file that the run was started with: {reason}; {_MEND}")


def _verify(data: bytes) -> None:
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, which no config has")
    found = _DIGEST.match(data)
    if found is None and _had_digest(data):
        raise ValueError("its SHA-256 is damaged")
    if found is not None and hashlib.sha256(data[found.end() :]).hexdigest() != found[1].decode():
        raise ValueError("it was changed after the run began, as its SHA-256 shows")


def _had_digest(data: bytes) -> bool:
    """Whether something is left of the line of a digest: files of earlier versions begin with one comment or none."""
    first = data.split(b"\n", 2)[:2]
    return bool(_REMAINS.search(data)) or any(line.startswith(b"#") and line != _OLD_COMMENT for line in first)


def _require_plain(text: str) -> None:
    """Scalars, lists and mappings of scalar keys, seen before anything is made of them.

    Raises:
        ValueError: something else, or values nested too deep. MarkedYAMLError: it is no YAML.
    """
    levels: list[_Level] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = 1 + getattr(event.start_mark, "line", 0)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"line {line} has an alias or an anchor of YAML")
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):  # `!` alone is how the parser says that a scalar is in quotes
            raise ValueError(f"line {line} has the tag {tag} of YAML")
        if isinstance(event, yaml.CollectionEndEvent):
            levels.pop()
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if levels and not levels[-1].takes(event):
                raise ValueError(f"line {line} has a key twice, or one that is no plain word")
            if isinstance(event, yaml.CollectionStartEvent):
                levels.append(_Level(isinstance(event, yaml.MappingStartEvent)))
        if len(levels) > _MOST_LEVELS:
            raise ValueError(f"line {line} is nested over {_MOST_LEVELS} levels deep")


class _Level:
    """A list or a mapping that is open, with the keys it has had."""

    def __init__(self, is_mapping: bool) -> None:
        self._keys: set[str] = set()
        self._is_mapping, self._at_key = is_mapping, is_mapping

    def takes(self, event: yaml.Event) -> bool:
        """Whether a key or a value may come next."""
        if not self._is_mapping:
            return True
        is_key, self._at_key = self._at_key, not self._at_key
        if not is_key:
            return True
        if not isinstance(event, yaml.ScalarEvent) or event.value == "<<" or event.value in self._keys:
            return False
        self._keys.add(event.value)
        return True
