"""metrics.jsonl: one JSON line per event; reading it, and cutting it back to a checkpoint."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from snac_exp.errors import CheckpointError, ConfigError
from snac_exp.system.checksums.json_digest import LINE_KEY, verified
from snac_exp.tracking.run_folder import RunFolder

_KINDS = ("train", "validation", "samples", "model")
_LOGGED = (int, float, type(None))  # None: a value that was not finite


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics.jsonl (or of a run folder's), in order.

    A last line without its newline is left out: the run that is writing it, or was killed over it, has not said it yet.

    Raises:
        ConfigError: a line is damaged.
    """
    path = Path(path)
    if path.is_dir():
        path = RunFolder(path).metrics
    return list(complete_lines(path, path.read_bytes()))


def complete_lines(path: Path, text: bytes) -> Iterator[dict[str, Any]]:
    """The complete lines in a piece `text` of the metrics.jsonl at `path`, which begins with a line.

    Raises:
        ConfigError: a line is damaged.
    """
    return _parsed(path, text.rpartition(b"\n")[0].split(b"\n"))


def _parsed(path: Path, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of lines that are not empty.

    Raises:
        ConfigError: a line is damaged.
    """
    for line in filter(None, lines):
        try:
            values = verified(json.loads(line), LINE_KEY)
            if not isinstance(values, dict):
                raise ValueError("it is no object")
            wrong = [key for key in ("step", "epoch") if type(values.get(key)) is not int]
            wrong += [key for key, value in values.items() if "/" in key and not isinstance(value, _LOGGED)]
            if wrong:
                raise ValueError(f"its {wrong[0]} is no number")
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path} has a damaged line ({error}); restore it, or remove that line") from error
        yield values


def rewind(path: Path, resume_at: int | None) -> int:
    """Cut the file at `resume_at`, the end of a line; None: there must be nothing yet. Returns how many lines stay."""
    size = path.stat().st_size if path.exists() else 0
    if resume_at is None:
        if size:
            raise ConfigError(f"{path} has metrics already: resume that run, or give the new one a folder of its own")
        return 0
    # The tracker syncs before it tells its position, so a shorter file was altered by somebody.
    if size < resume_at:
        raise CheckpointError(
            f"{path} has {size} bytes, but the checkpoint was written at byte {resume_at}: the file was cut or "
            f"replaced; restore it, or resume from an older checkpoint"
        )
    if not size:
        return 0
    if resume_at and path.read_bytes()[resume_at - 1 : resume_at] != b"\n":
        raise CheckpointError(
            f"{path}: byte {resume_at}, where the checkpoint was written, is inside a line: the file was altered; "
            f"restore it, or resume from an older checkpoint"
        )
    # In place: a tracker that is open appends to this very file, not to one that takes its name.
    os.truncate(path, resume_at)
    return path.read_bytes().count(b"\n")


def lines_of_kind(path: Path, text: bytes, kind: str) -> list[dict[str, Any]]:
    """The complete lines of one kind (train, validation, …) in a piece `text` of the metrics.jsonl at `path`.

    Raises:
        ConfigError: one of them is damaged.
    """
    # Told apart before parsing, which costs most: other kinds may be nearly all of the lines. A line of no kind, or two
    # that have become one, may have been of this one.
    others = [f'"kind": "{other}"'.encode() for other in _KINDS if other != kind]
    complete = text.rpartition(b"\n")[0].split(b"\n")
    maybe = (line for line in complete if line.count(b'"kind"') != 1 or not any(other in line for other in others))
    return [values for values in _parsed(path, maybe) if values.get("kind") == kind]
