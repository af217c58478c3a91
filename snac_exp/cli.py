"""`snac-exp VERB key=value …`: every verb but training, with one grammar for all."""

import ast
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snac_exp.config.compose import config_dir
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError, DataError
from snac_exp.verbs.training.train import guarded

VERBS_DIR = Path(__file__).parent / "verbs"


def main() -> None:
    """Entry point of the console script."""
    sys.exit(guarded(lambda: _with_files(lambda: run(sys.argv[1:]))))


def _with_files(command: Callable[[], int]) -> int:
    """Run a command; a file or folder that the system refuses is the user's to mend, and is named."""
    try:
        return command()
    except OSError as error:
        if error.filename is None:
            raise
        raise DataError(f"{error.filename}: {error.strerror}") from error


def run(arguments: Sequence[str]) -> int:
    """Run one verb; returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    verb, *rest = arguments
    name = verb.replace("-", "_")
    if name not in verbs():
        raise ConfigError(f"'{verb}' is no verb{nearest(verb, (item.replace('_', '-') for item in verbs()))}")
    if any(item in ("-h", "--help") for item in rest):
        print(_help(name))
        return 0
    status: int = verb_module(name).main(rest)
    return status


def verbs() -> dict[str, Path]:
    """All verbs by name, with their files: the modules in the rooms of snac_exp/verbs."""
    files = VERBS_DIR.glob("*/[a-z]*.py")
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem) if path.stem != "train"}


def verb_module(name: str) -> Any:
    """The module of a verb, imported."""
    return importlib.import_module(f"snac_exp.verbs.{verbs()[name].parent.name}.{name}")


def _docstring(name: str) -> str:
    """A verb's docstring, read without importing it."""
    return ast.get_docstring(ast.parse(verbs()[name].read_text(encoding="utf-8"))) or ""


def _overview() -> str:
    lines = ["usage: snac-exp VERB key=value …      (snac-exp VERB --help tells its keys)", ""]
    lines += [f"  {name.replace('_', '-'):13} {_docstring(name).splitlines()[0]}" for name in verbs()]
    return "\n".join([*lines, "", "Training itself: python train.py --help"])


def _help(name: str) -> str:
    """The verb's docstring and its primary config, whose comments explain every key."""
    config = config_dir() / f"{name}.yaml"
    keys = (
        f"\n\nkeys and their defaults (conf/{name}.yaml):\n\n{config.read_text(encoding='utf-8')}"
        if config.exists()
        else ""
    )
    return _docstring(name) + keys


if __name__ == "__main__":
    main()
