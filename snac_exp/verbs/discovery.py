"""The verbs by name: every module in a room of this package is one."""

import ast
import importlib
from pathlib import Path
from typing import Any

VERBS_DIR = Path(__file__).parent


def verb_files() -> dict[str, Path]:
    """The file of every verb by its name on the command line (`cache-codes` lies in cache_codes.py)."""
    # A letter first, so that __init__.py is no verb.
    files = {path.stem.replace("_", "-"): path for path in VERBS_DIR.glob("*/[a-z]*.py")}
    return dict(sorted(files.items()))


def verb_module(verb: str) -> Any:
    """The module of a verb, imported; its `main(arguments)` returns the exit status."""
    path = verb_files()[verb.replace("_", "-")]
    return importlib.import_module(f"snac_exp.verbs.{path.parent.name}.{path.stem}")


def verb_help(verb: str) -> str:
    """The docstring of a verb, read without importing it."""
    # Parsed, not imported: help for all verbs must not import torch.
    return ast.get_docstring(ast.parse(verb_files()[verb].read_text(encoding="utf-8"))) or ""
