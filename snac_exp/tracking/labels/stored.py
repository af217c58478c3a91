"""labels.json of a run folder: what was said of the run afterwards, changed by one process at a time."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from snac_exp.errors import ConfigError
from snac_exp.system.files import write_signed_json
from snac_exp.system.locks import one_at_a_time
from snac_exp.tracking.json_files import NUMBER, Shape, read_object, require_shape
from snac_exp.tracking.labels.words import checked_note, checked_tag
from snac_exp.tracking.run_folder import RunFolder

MOST_TAGS = 64  # added to one run
MOST_NOTES = 500  # of one run

_FILE: Shape = {"tags": list, "removed": list, "notes": list}
_NOTE: Shape = {"time": NUMBER, "text": str}


@dataclass(frozen=True)
class Note:
    """What somebody wrote of a run. time: seconds since the epoch."""

    time: float
    text: str


@dataclass(frozen=True)
class StoredLabels:
    """tags: added to those of the config, in order. removed: of the config's, those that count no more. notes: the
    oldest first."""

    tags: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    def tagged(self, of_config: Sequence[str], add: Collection[str], remove: Collection[str]) -> "StoredLabels":
        """With tags added and removed, of a run whose config has the tags `of_config`.

        Raises:
            ConfigError: an added tag is none, or there are too many.
        """
        wanted = [tag if tag in of_config else checked_tag(tag) for tag in add]
        kept = [tag for tag in self.tags if tag not in remove]
        tags = tuple(dict.fromkeys([*kept, *(tag for tag in wanted if tag not in of_config)]))
        if len(tags) > MOST_TAGS:
            raise ConfigError(f"{len(tags)} tags are more than the {MOST_TAGS} that a run may have; remove some")
        gone = dict.fromkeys([*self.removed, *(tag for tag in of_config if tag in remove)])
        return replace(self, tags=tags, removed=tuple(tag for tag in gone if tag not in wanted))

    def noted(self, text: str) -> "StoredLabels":
        """With one note more, of now.

        Raises:
            ConfigError: it is none, or there are too many.
        """
        if len(self.notes) >= MOST_NOTES:
            raise ConfigError(f"{len(self.notes)} notes are all that a run may have; remove some")
        return replace(self, notes=(*self.notes, Note(time.time(), checked_note(text))))

    def without_note(self, note: Note) -> "StoredLabels":
        """Without that note, if it is still there."""
        return replace(self, notes=tuple(item for item in self.notes if item != note))


def read_labels(folder: RunFolder) -> StoredLabels:
    """The labels of a run; none where there is no file.

    Raises:
        ConfigError: the file is damaged; says so with its name.
    """
    if not folder.labels.exists():
        return StoredLabels()
    found = read_object(folder.labels, _FILE)
    for number, note in enumerate(found["notes"], start=1):
        require_shape(folder.labels, note, _NOTE, f"note {number}")
    texts = [*found["tags"], *found["removed"]]
    if not all(isinstance(item, str) for item in texts):
        raise ConfigError(f"{folder.labels} is damaged: a tag in it is no text; restore it or remove it")
    notes = tuple(Note(float(note["time"]), note["text"]) for note in found["notes"])
    return StoredLabels(tuple(found["tags"]), tuple(found["removed"]), notes)


def update_labels(folder: RunFolder, change: Callable[[StoredLabels], StoredLabels]) -> StoredLabels:
    """Change the labels of a run, which may be running; returns what was written.

    Raises:
        ConfigError: the file is damaged, and stays as it is; or `change` refuses.
    """
    # A lock of its own: the run holds that of its folder from its first to its last line.
    with one_at_a_time(folder.labels_lock):
        before = read_labels(folder)
        after = change(before)
        if after != before:
            values: dict[str, Any] = asdict(after)
            write_signed_json(folder.labels, values)
    return after
