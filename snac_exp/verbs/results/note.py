"""Write a note to runs, at any time: status, board, compare and reports show it.

usage: snac-exp note RUN|SWEEP… "TEXT"           add a note; a sweep stands for its jobs
       snac-exp note RUN remove=NUMBER           take the note of that number away
       snac-exp note RUN|SWEEP…                  print notes with their numbers

Running runs can get notes too. Notes are stored in labels.json of the run folder. Use text="…" for a note that is also
the name of a folder.
"""

import re
import time
from collections.abc import Sequence

from snac_exp.errors import ConfigError
from snac_exp.tracking.labels.stored import Note, read_labels, update_labels
from snac_exp.tracking.labels.words import checked_note
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.arguments import folders_and_words
from snac_exp.verbs.labelled_runs import labelled_runs


def main(arguments: Sequence[str]) -> int:
    """Add or remove a note, in all runs or in none, and print the notes."""
    folders, texts, options = folders_and_words(arguments, ("text", "remove"))
    runs = labelled_runs("note", folders)
    if texts and re.fullmatch(r"\w+=\S*", texts[0]):
        key = texts[0].partition("=")[0]
        raise ConfigError(
            f"there is no key '{key}'; there is text, remove. A note that looks like one: text='{texts[0]}'"
        )
    texts += [options["text"]] if "text" in options else []
    if len(texts) > 1:
        raise ConfigError(f"one note at a time, in quotes, behind the folders; there is no folder '{texts[0]}'")
    if texts and "remove" in options:
        raise ConfigError("a note is added or removed; say one of them")
    if texts:
        _add(runs, texts[0])
    if "remove" in options:
        _remove(runs, options["remove"])
    for run in runs:
        print("\n".join([f"{run.path}:", *_lines(read_labels(run).notes)]))
    return 0


def _add(runs: Sequence[RunFolder], text: str) -> None:
    note = checked_note(text)
    for run in runs:
        read_labels(run).noted(note)  # nothing is written where a file is damaged or full
    for run in runs:
        update_labels(run, lambda labels: labels.noted(note))


def _remove(runs: Sequence[RunFolder], number: str) -> None:
    if len(runs) > 1:
        raise ConfigError(f"remove={number} is of one run, and {len(runs)} are given; runs have notes of their own")
    notes = read_labels(runs[0]).notes
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= len(notes)):
        there = f"notes 1 to {len(notes)}" if notes else "no note"
        raise ConfigError(f"remove={number}: {runs[0].path} has {there}")
    # By what it says: another process may have removed one, and numbers have moved since.
    note = notes[int(number) - 1]
    update_labels(runs[0], lambda labels: labels.without_note(note))


def _lines(notes: Sequence[Note]) -> list[str]:
    return [
        f"  {number}  {time.strftime('%Y-%m-%d %H:%M', time.localtime(note.time))}  {note.text}"
        for number, note in enumerate(notes, start=1)
    ] or ["  no note"]
