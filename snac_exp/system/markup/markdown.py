"""Texts of others in Markdown (CommonMark and GitHub's): names and messages are shown as they stand, never acted on."""

import re
from collections.abc import Iterable, Sequence

# What begins or ends emphasis, code, cells; `]` where a link's target follows it; `&` where that begins an entity; `_`
# unless letters stand on both sides. An interval in brackets stays as it is.
_ACTED_ON = re.compile(r"[\\`*|~]|\](?=[(\[:])|\[(?=\^)|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
# What makes a line a heading, a list, a quotation, a rule, a link's definition or a box to tick; a lone dash stays, by
# which tables say that there is nothing.
_BEGINS = re.compile(r"-(?=\s)|(#{1,6}|[+]|\d{1,9}[.)])(?=\s|$)|>|\[|-{3,}|={2,}")
_ENDS_CODE = re.compile(r"[`|<\\\n\r]")


def plain(text: str) -> str:
    """The text on one line."""
    line = _ACTED_ON.sub(r"\\\g<0>", " ".join(text.split()))
    begin = _BEGINS.match(line)
    if begin is not None:
        line = f"{line[: begin.end() - 1]}\\{line[begin.end() - 1 :]}"
    # Not by a backslash: a program that looks for a comment in the file would find `<!--` behind one.
    return line.replace("<", "&lt;")


def code(text: str) -> str:
    """The text as code; plain where it holds what would end that."""
    return plain(text) if _ENDS_CODE.search(text) or text != text.strip() or not text else f"`{text}`"


def fenced(text: str, language: str) -> str:
    """Lines as a block of code, within a fence that is longer than any in them."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(columns: Iterable[str], rows: Iterable[Sequence[str]], aligned: str = "") -> str:
    """A table of cells that are Markdown already. aligned: `l` or `r` for each column; without: as the reader does."""
    head = list(columns)
    below = ["---:" if side == "r" else "---" for side in aligned.ljust(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, below, *rows))
