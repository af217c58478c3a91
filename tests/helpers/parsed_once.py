"""YAML files of Hydra's groups, each parsed once in a process of tests, which compose the same ones over and over."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult

Load = Callable[[Any, str], ConfigResult]


def parse_once() -> None:
    """From here on; a file that was written again is read again."""
    Plugins.instance()  # registers the sources, out of modules that it imports by itself
    for scheme, text in (("file", _text), ("pkg", lambda source, path: path)):
        source = SourcesRegistry.instance().types[scheme]
        if source.load_config.__module__ != __name__:  # else a warm process was forked from one that does
            source.load_config = _remembering(source.load_config, text)  # type: ignore[method-assign]


def _text(source: Any, config_path: str) -> str | None:
    file = Path(source.path, source._normalize_file_name(config_path))
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _remembering(load: Load, text: Callable[[Any, str], str | None]) -> Load:
    known: dict[tuple[str, str, str | None], ConfigResult] = {}

    def load_config(self: Any, config_path: str) -> ConfigResult:
        key = (self.path, config_path, text(self, config_path))
        if key not in known:
            known[key] = load(self, config_path)
        return copy.deepcopy(known[key])  # whoever composes changes it

    return load_config
