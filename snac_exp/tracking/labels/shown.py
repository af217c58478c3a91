"""The tags and notes of a run as tables and pages show them: tags of its config and of afterwards are one."""

from collections.abc import Sequence
from dataclasses import dataclass

from snac_exp.config.stored import verify_stored
from snac_exp.errors import ConfigError
from snac_exp.tracking.labels.config_text import tags_of
from snac_exp.tracking.labels.stored import Note, StoredLabels, read_labels
from snac_exp.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class Labels:
    """notes: the oldest first."""

    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


def united(of_config: Sequence[str], stored: StoredLabels) -> Labels:
    """`tracker.tags` but those that were removed, then what was added."""
    tags = dict.fromkeys([*(tag for tag in of_config if tag not in stored.removed), *stored.tags])
    return Labels(tuple(tags), stored.notes)


def config_tags(folder: RunFolder) -> list[str]:
    """`tracker.tags` of a run; none where it has no config.

    Raises:
        ConfigError: the config is damaged.
    """
    return tags_of(folder.config, verify_stored(folder.config)) if folder.config.is_file() else []


def labels_of(folder: RunFolder) -> Labels:
    """The labels of a run.

    Raises:
        ConfigError: labels.json or the config is damaged.
    """
    return united(config_tags(folder), read_labels(folder))


def labels_or_damage(folder: RunFolder) -> tuple[Labels, str | None]:
    """The same for tables of many runs and for pages: without labels, and why, where they cannot be read."""
    try:
        return labels_of(folder), None
    except ConfigError as error:
        return Labels(), str(error)
