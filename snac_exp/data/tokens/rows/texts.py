"""What is said in each utterance, from a list or as the cache keeps it."""

import json
from collections.abc import Mapping
from pathlib import Path

from snac_exp.data.codes.table import CodeTable
from snac_exp.errors import DataError

NO_TEXTS = "none"
"""In place of a file: rows have no text, also where the cache has one."""
_COLUMN = "text"


def texts_for(table: CodeTable, texts: str | None) -> Mapping[str, str | None] | None:
    """Path of each utterance -> its text: of a list (see `read_texts`), else those that the cache keeps, if any."""
    if texts == NO_TEXTS:
        return None
    if texts is not None:
        return read_texts(Path(texts).expanduser())
    if _COLUMN not in table.more:
        return None
    return dict(zip(table.paths.to_pylist(), table.more[_COLUMN].to_pylist(), strict=True))


def read_texts(path: Path) -> dict[str, str]:
    """Path of each utterance -> its text, of a .jsonl whose lines have `path` and `text`.

    Raises:
        DataError: not there, a line without both as text, or a path that comes twice; names the line.
    """
    texts: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"texts: cannot read {path} ({error}); give a .jsonl with path and text in each line") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            name, text = values["path"], values["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: no path and text ({error!r}); fix the line") from None
        if not isinstance(name, str) or not isinstance(text, str):
            raise DataError(f"{path}, line {number}: path and text must be strings; fix the line")
        if name in texts:
            raise DataError(f"{path}, line {number}: {name} has a text before; remove one of the two")
        texts[name] = text
    return texts
