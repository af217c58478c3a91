"""Classes and functions that users add, as a config describes them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Component:
    """A class or function named by `_target_`, with the options it is called with."""

    target: str
    options: dict[str, Any] = field(default_factory=dict)
