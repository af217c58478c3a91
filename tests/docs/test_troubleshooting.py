"""Messages that docs/troubleshooting.md quotes are those of the code, with `…` for what a message fills in."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, text_of

MESSAGES = [block.strip() for block in blocks(text_of("troubleshooting"), "text")]


def _written(node: ast.expr) -> str:
    """A string as it stands in the code, with … for every value that is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join("…" if isinstance(part, ast.FormattedValue) else _written(part) for part in node.values)
    return "…"


def _strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            yield _written(node)


@cache
def said_by_the_code() -> tuple[str, ...]:
    """All strings of the package; an f-string has … in its gaps."""
    return tuple(text for path in (ROOT / "snac_exp").rglob("*.py") for text in _strings(path))


def test_there_are_at_least_twenty() -> None:
    assert len(set(MESSAGES)) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_still_says_it(message: str) -> None:
    wanted = " ".join(message.split())
    assert any(wanted in " ".join(text.split()) for text in said_by_the_code()), wanted
