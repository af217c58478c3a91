"""Pages for people as tests read them: blocks of commands, of Python, of quoted output, and what they name."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {"README": ROOT / "README.md"} | {path.stem: path for path in sorted((ROOT / "docs").glob("*.md"))}


def text_of(page: str) -> str:
    """The Markdown of a page by its name."""
    return PAGES[page].read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """The text under each heading of the second level."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    """The contents of all fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str) -> list[str]:
    """The lines of all blocks of shell commands."""
    return [line for block in blocks(text, "sh") for line in block.splitlines() if line.strip()]


def quoted_output(text: str) -> list[str]:
    """Patterns of the output lines that a text quotes: any numbers and names of audio files will do."""
    lines = re.findall(r"^    (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return [r"\s+".join(map(_any_number, line.split())) for line in lines if line.strip() != "…"]


def _any_number(word: str) -> str:
    if word.endswith(".flac"):
        return r"\S+\.flac"
    parts = re.split(r"\d[\d.,]*(?:e-\d+)?", word)
    return r"\d[\d.,]*(?:e-\d+)?".join(map(re.escape, parts))


def in_backticks(text: str) -> list[str]:
    """Everything between single backticks, outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def table_after(text: str, header: str) -> list[str]:
    """The first cells of the table whose header line begins so."""
    rows = text[text.index(f"| {header}") :].splitlines()[2:]
    return [row.split("|")[1].strip() for row in rows[: next((n for n, row in enumerate(rows) if not row), len(rows))]]
