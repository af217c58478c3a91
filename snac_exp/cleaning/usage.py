"""Bytes below a folder by kind, its newest change, and what makes it unsafe to move: links and mounts."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.sweep_folder import SweepFolder

_RUN, _SWEEP = RunFolder(Path()), SweepFolder(Path())
TRACKERS, LOGS, OTHER = "trackers", "logs", "other"
_KINDS: Mapping[str, tuple[Path, ...]] = {
    "checkpoints": (_RUN.checkpoints,),
    "samples": (_RUN.samples,),
    TRACKERS: (_RUN.wandb, _RUN.wandb_id, _RUN.tensorboard, _RUN.trackio_id),
    "code": (_SWEEP.code,),
    LOGS: (_RUN.log, _RUN.job_log, _SWEEP.driver_log, _SWEEP.slurm, _RUN.trace),
    "metrics": (_RUN.metrics, _RUN.notes, _RUN.utterances, _RUN.summary, _RUN.report),
}
_CACHES = ("codes_", "targets_")  # how folders of codes and of targets begin
KINDS = (*_KINDS, "caches", OTHER)
_KIND_OF = {path.name: kind for kind, paths in _KINDS.items() for path in paths}

# Files that may name a run as what they were made from; of metrics and logs of a run only itself is spoken.
_TEXTS = frozenset({".json", ".jsonl", ".yaml", ".yml", ".md", ".txt", ".toml", ".csv", ".tsv"})
_SPEAK_OF_ITSELF = frozenset({_RUN.metrics.name, _RUN.notes.name})
MOST_TEXT_BYTES = 1 << 24


@dataclass
class Usage:
    """num_bytes: by kind. newest: seconds since the epoch. leaving: a link out of the folder, or what lies on another
    file system. unreadable: a folder that could not be looked into. links: with where they lead. texts: files that may
    name runs."""

    num_bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    newest: float = 0.0
    leaving: Path | None = None
    unreadable: str | None = None
    links: list[tuple[Path, Path]] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes of all kinds."""
        return sum(self.num_bytes.values())

    def add(self, other: "Usage") -> None:
        """Take in what lies beside it."""
        for kind, size in other.num_bytes.items():
            self.num_bytes[kind] += size
        self.newest = max(self.newest, other.newest)
        self.leaving, self.unreadable = self.leaving or other.leaving, self.unreadable or other.unreadable
        self.links += other.links
        self.texts += other.texts


def usage_of(folder: Path, without: frozenset[Path] = frozenset()) -> Usage:
    """What lies in a folder, links not followed. without: folders in it that are looked at apart.

    Raises:
        OSError: the folder itself is not there.
    """
    found, root = Usage(newest=os.lstat(folder).st_mtime), Path(os.path.realpath(folder))
    device = os.lstat(root).st_dev
    for path, known in _walk(folder, without, found):
        found.newest = max(found.newest, known.st_mtime)
        if known.st_dev != device:
            found.leaving = found.leaving or path
        if stat.S_ISLNK(known.st_mode):
            target = Path(os.path.realpath(path))
            found.links.append((path, target))
            # W&B links its log in the user's cache, submitit its script by the whole path: these go with the run.
            if not target.is_relative_to(root) and _kind(path.relative_to(folder)) not in (TRACKERS, LOGS):
                found.leaving = found.leaving or path
        elif stat.S_ISREG(known.st_mode):
            found.num_bytes[_kind(path.relative_to(folder))] += known.st_size
            is_text = path.suffix in _TEXTS and path.name not in _SPEAK_OF_ITSELF
            if is_text and known.st_size <= MOST_TEXT_BYTES:
                found.texts.append(path)
    return found


def _walk(folder: Path, without: frozenset[Path], found: Usage) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return  # a folder that was being written has its name by now
    except PermissionError as error:
        found.unreadable = f"{folder}: {error.strerror}"
        return
    for entry in entries:
        path = folder / entry.name
        if path in without:
            continue
        try:
            yield path, entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # a file that was being written has its name by now
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, without, found)


def _kind(inside: Path) -> str:
    """By the first part that is known: of a sweep's job that is behind the job's name."""
    if any(part.startswith(_CACHES) for part in inside.parts[:-1]):
        return "caches"
    return next((_KIND_OF[part] for part in inside.parts if part in _KIND_OF), OTHER)
