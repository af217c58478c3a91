"""What is shown of chosen runs beside their curves: where their configs differ, and their newest samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snac_exp.board.entry import Entry
from snac_exp.board.inside import Inside
from snac_exp.errors import ConfigError
from snac_exp.report.listening.clips import Clip, find_clips
from snac_exp.report.settings import differences_between_runs


def configs(entries: Sequence[Entry]) -> dict[str, Any]:
    """The keys in which configs differ with the value of each run; runs whose config cannot be read have none."""
    values: list[dict[str, Any]] = []
    problems: dict[str, str] = {}
    readable = []
    for place, entry in enumerate(entries):
        try:
            values.append(entry.config())
            readable.append(place)
        except ConfigError as error:
            problems[entry.id] = str(error)
    found = differences_between_runs(values)
    return {"runs": readable, "rows": [(item.key, item.values) for item in found], "problems": problems}


def sounds(inside: Inside, entries: Sequence[Entry]) -> dict[str, Any]:
    """The newest sounds: a group per clip, by the speech in it, with the addresses of its signals run by run.

    Clips are named alike in all runs, but with another seed or other data they are other speech.
    """
    groups: dict[tuple[str, str], dict[int, tuple[Entry, Clip]]] = {}
    problems: dict[str, str] = {}
    for place, entry in enumerate(entries):
        try:
            for clip in clips_of(inside, entry):
                groups.setdefault((clip.name, clip.reference_digest()), {})[place] = (entry, clip)
        except (ConfigError, OSError) as error:  # removed while it was looked at
            problems[entry.id] = str(error)
    names = [name for name, _ in groups]
    titles = [_title(name, names[:index], names.count(name)) for index, name in enumerate(names)]
    return {"clips": [_group(title, found) for title, found in zip(titles, groups.values(), strict=True)],
            "problems": problems}  # fmt: skip


def clips_of(inside: Inside, entry: Entry) -> list[Clip]:
    """The clips of a run.

    Raises:
        ConfigError: a file of them lies outside of the folder that is shown.
    """
    samples = entry.folder.samples
    inside.require(samples)
    clips = find_clips(samples)
    for clip in clips:
        for path in clip.newest().values():
            inside.require(path)
    return clips


def sound_file(inside: Inside, entry: Entry, folder: str, name: str) -> Path:
    """A file of the newest samples; names that come from outside only choose among those that are there.

    Raises:
        ConfigError: there is none of these names, or it may not be read.
    """
    for clip in clips_of(inside, entry):
        for path in clip.newest().values():
            if (path.parent.name, path.name) == (folder, name) and inside.signature(path) is not None:
                return path
    raise ConfigError("there is no such sample any more; newer ones may have come")


def _title(name: str, before: Sequence[str], number: int) -> str:
    return f"{name}, speech {1 + before.count(name)}" if number > 1 else name


def _group(title: str, found: dict[int, tuple[Entry, Clip]]) -> dict[str, Any]:
    labels = list(dict.fromkeys(label for _, clip in found.values() for label in clip.labels))
    runs = {
        place: {
            "at": f"{clip.unit} {max(clip.files)}",
            "files": {label: _address(entry, path) for label, path in clip.newest().items()},
        }
        for place, (entry, clip) in found.items()
    }
    return {"title": title, "labels": labels, "runs": runs}


def _address(entry: Entry, path: Path) -> list[str]:
    """The parts of an address; the page quotes them."""
    return ["sound", entry.id, path.parent.name, path.name]
