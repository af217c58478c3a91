"""YAML files of Hydra's groups, each parsed once in a process: a sweep composes them again for every job."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins import file_config_source, importlib_resources_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigResult


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's source of files. By their text, not by their time: one that was written again is read again."""

    _known: ClassVar[dict[Any, ConfigResult]] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        """The config of a file; errors are Hydra's."""
        file = Path(self.path, self._normalize_file_name(config_path))
        # What is missing is Hydra's to tell.
        key = (str(file), file.read_text(encoding="utf-8") if file.is_file() else None)
        return _once(self._known, key, lambda: _of_folder(self, config_path))


class ImportlibResourcesConfigSource(importlib_resources_config_source.ImportlibResourcesConfigSource):
    """Hydra's source of files inside of packages, which nobody writes again."""

    _known: ClassVar[dict[Any, ConfigResult]] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        """The config of a file; errors are Hydra's."""
        return _once(self._known, (self.path, config_path), lambda: _of_package(self, config_path))


_of_folder = file_config_source.FileConfigSource.load_config
_of_package = importlib_resources_config_source.ImportlibResourcesConfigSource.load_config


def _once(known: dict[Any, ConfigResult], key: Any, read: Callable[[], ConfigResult]) -> ConfigResult:
    """A copy of what is known, since whoever composes changes it."""
    if key not in known:
        known[key] = read()
    return copy.deepcopy(known[key])


# Hydra imports plugins before it registers its own sources, and keeps the first that has a name.
for _source in (FileConfigSource, ImportlibResourcesConfigSource):
    SourcesRegistry.instance().register(_source)
