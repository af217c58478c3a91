"""From the description of a component to the object it stands for."""

import importlib
from typing import Any

from snac_exp.config.schema import Component
from snac_exp.errors import ConfigError


def imported(target: str) -> Any:
    """The class or function of an import path."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def instantiate(component: Component, path: str, *arguments: Any) -> Any:
    """Call the class or function that a component names with `arguments` and its options.

    Raises:
        ConfigError: it does not take them; tells the key `path`.
    """
    try:
        return imported(component.target)(*arguments, **component.options)
    except TypeError as error:
        raise ConfigError(f"{path}: {component.target} cannot be built with {component.options}: {error}") from error
