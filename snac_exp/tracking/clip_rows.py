"""clips.json in a folder of samples: a row of metrics for each clip and signal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError
from snac_exp.system.files import read_json, write_signed_json

CLIPS_FILE = "clips.json"
_KEY = "clips"


def write_clip_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows, with a digest, into a folder of samples."""
    write_signed_json(folder / CLIPS_FILE, {_KEY: list(rows)})


def read_clip_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows; none where none were written. Files of earlier versions are a list without a digest.

    Raises:
        ConfigError: the file is damaged.
    """
    path = folder / CLIPS_FILE
    if not path.is_file():
        return []
    try:
        found = read_json(path)
        rows = found[_KEY] if isinstance(found, dict) else found
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("it holds no rows")
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is damaged ({error}); remove it") from None
    return list(rows)
