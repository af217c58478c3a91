"""Notes of a run: checks of the preflight, steps that guards skipped, interruptions.

RUN_DIR/notes.jsonl is read where a run writes it, a line per note: `{"time", "step", "source", "level", "text"}`.
The source is `preflight`, `guard` or another word, the level `ok`, `info`, `warning` or `error`. Other than
metrics.jsonl it is never cut back, so what led to a rollback stays. Without it the lines of train.log say the same, and
their level is guessed from their words.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from snac_exp.system.checksums.json_digest import verified
from snac_exp.tracking.run_folder import RunFolder

MOST_NOTES = 200  # the page shows the newest

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  (.*)")
# What the console writes again and again or shows as tables; the page has it elsewhere.
_NOT_NOTES = re.compile(
    r"(start|epoch \d+/\d+ \S+)  (validation|batch)|run folder: |(summary|checkpoint|listen|look|report): |"
    r"\d+ training (rows|windows)|\s"
)
_PROMISE = "preflight: "
_ALARMING = re.compile(r"not finite|rollback|skipped|may differ|no checkpoint|clipped", re.IGNORECASE)


@dataclass(frozen=True)
class Note:
    """One note. level: ok, info, warning or error."""

    level: str
    source: str
    text: str
    time: str = ""
    step: int | None = None


@dataclass(frozen=True)
class Notes:
    """The notes of a run in order. num_left_out: of the oldest warnings, when there are very many."""

    preflight: list[Note]
    others: list[Note]
    num_left_out: int = 0

    @property
    def warnings(self) -> list[Note]:
        """Those that somebody should read."""
        return [note for note in self.others if note.level in ("warning", "error")]


def read_notes(run_dir: Path, log: str) -> Notes:
    """The notes of a run folder, from notes.jsonl or else from the text of its train.log."""
    path = RunFolder(run_dir).notes
    found = _recorded(path) if path.exists() else _logged(log)
    others = [note for note in found if note.source != "preflight"]
    return Notes(
        [note for note in found if note.source == "preflight"],
        others[-MOST_NOTES:],
        max(0, len(others) - MOST_NOTES),
    )


def _recorded(path: Path) -> list[Note]:
    # A last line without its end is still being written.
    complete = path.read_bytes().rpartition(b"\n")[0].decode(errors="replace")
    lines = enumerate(complete.split("\n"), start=1)
    return [_note(line) or Note("warning", path.name, f"line {number} is damaged") for number, line in lines if line]


def _note(line: str) -> Note | None:
    """The note of a line; None where it is none."""
    try:
        values = verified(json.loads(line))
        level, source, text, step = values["level"], values["source"], values["text"], values.get("step")
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(step, int | None):
        return None
    return Note(str(level), str(source), str(text).removeprefix(_PROMISE), step=step)


def _logged(log: str) -> list[Note]:
    """Lines with a time that are neither progress nor results; those that follow without a time belong to a table."""
    notes = []
    for line in log.splitlines():
        found = _LINE.fullmatch(line)
        if found is None or not found[2] or _NOT_NOTES.match(found[2]):
            continue
        time, text = found[1], found[2]
        if text.startswith(_PROMISE):
            notes.append(Note("ok", "preflight", text.removeprefix(_PROMISE)))
        else:
            notes.append(Note("warning" if _ALARMING.search(text) else "info", "log", text, time))
    return notes
