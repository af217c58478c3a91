"""Markdown as a reader of GitHub's form of it takes it."""

from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

_READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def rows(text: str) -> list[list[str]]:
    """What the cells of all tables show."""
    found: list[list[str]] = []
    inside = False
    for token in _READER.parse(text):
        if token.type == "tr_open":
            found.append([])
        inside = (inside and token.type != "table_close") or token.type == "table_open"
        if inside and token.type == "inline":
            found[-1].append(_shown(token))
    return found


def blocks(text: str) -> list[tuple[str, str]]:
    """The kind and what it shows of every block that has text."""
    found = [token for token in _READER.parse(text) if token.type in ("inline", "fence", "code_block", "html_block")]
    return [(token.type, _shown(token) if token.children else token.content.rstrip("\n")) for token in found]


def acted_on(text: str) -> set[str]:
    """Kinds of inline parts that are no plain text: links, emphasis, HTML."""
    return {part.type for part in _parts(text)} - {"text", "softbreak"}


def links(text: str) -> list[str]:
    """Where links lead."""
    return [str(part.attrs["href"]) for part in _parts(text) if part.type == "link_open"]


def _parts(text: str) -> Iterator[Token]:
    for token in _READER.parse(text):
        yield from token.children or ()


def _shown(token: Token) -> str:
    return "".join(" " if part.type == "softbreak" else part.content for part in token.children or ())
