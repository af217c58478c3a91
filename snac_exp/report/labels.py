"""Notes of people as pages and tables show them."""

import time

from snac_exp.tracking.labels.shown import Labels


def written_notes(labels: Labels) -> list[tuple[str, str]]:
    """When each was written, and its text; the newest first."""
    return [(time.strftime("%Y-%m-%d %H:%M", time.localtime(note.time)), note.text) for note in reversed(labels.notes)]
