"""Objects of JSON that carry a digest of their own content."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "sha256"
LINE_KEY = "line_sha256"
"""Of objects that say the SHA-256 of a file, too."""


def digest_of(values: Mapping[str, Any], key: str = KEY) -> str:
    """Hexadecimal SHA-256 of an object's content, its own digest left out; spaces and the order of keys do not count.

    Raises:
        ValueError: it holds NaN or infinity, which JSON has not.
    """
    plain = json.loads(json.dumps({name: value for name, value in values.items() if name != key}, allow_nan=False))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def signed(values: Mapping[str, Any], key: str = KEY) -> dict[str, Any]:
    """The object with its digest under `sha256`, as its first key: a line that a person can remove with ease."""
    return {key: digest_of(values, key), **{name: value for name, value in values.items() if name != key}}


def verified(value: Any, key: str = KEY) -> Any:
    """What was read, its digest verified and left out; what has none (as files of earlier versions) as it is.

    Raises:
        ValueError: it is not what was written.
    """
    if not isinstance(value, dict):
        return value
    if key not in value:
        if _has_lost_its_key(value):
            raise ValueError(f"it is not what was written: the name of its {key} is damaged")
        return value
    if value[key] != digest_of(value, key):
        raise ValueError(f"it is not what was written: its {key} differs from its content")
    return {name: item for name, item in value.items() if name != key}


def _has_lost_its_key(value: Mapping[str, Any]) -> bool:
    """Whether the first pair is as long as a digest with its key, whatever has become of the two."""
    key, first = next(iter(value.items()), ("", None))
    # No other first value of ours is as long, but paths.
    return isinstance(first, str) and len(key + first) > 60 and "/" not in first
