"""The code of a recipe's components, as digests of their source files; nothing is imported."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snac_exp.config.loss_terms import target_of_term
from snac_exp.config.moved import current_name, first_name
from snac_exp.config.source_code import find_definition, module_file, with_bases
from snac_exp.config.trusted_code import is_own_file


def component_code(values: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the code of every component of a resolved config, by the name it was first published under.

    Of the files that its class or function and the bases of its class lie in, those of installed packages left out;
    not of what these files import.

    Raises:
        ConfigError: there is no such class or function.
    """
    return {first_name(target): _code_of(target) for target in sorted(set(_targets(values)) | set(_terms(values)))}


def _code_of(target: str) -> str:
    definitions = with_bases(find_definition(current_name(target), "_target_"))
    files = {file for item in definitions if (file := module_file(item.module)) is not None and is_own_file(file)}
    return hashlib.sha256("".join(sorted(map(_digest_of, files))).encode()).hexdigest()


def _digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _targets(value: Any) -> Iterator[str]:
    """Import paths of classes and functions, at whatever depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "_target_" and isinstance(item, str):
                yield item
            else:
                yield from _targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _targets(item)


def _terms(values: Mapping[str, Any]) -> Iterator[str]:
    """Loss terms that a bare number names."""
    loss = values.get("loss")
    terms = loss.get("terms") if isinstance(loss, Mapping) else None
    for name, value in terms.items() if isinstance(terms, Mapping) else ():
        if not isinstance(value, Mapping):
            yield target_of_term(str(name))
