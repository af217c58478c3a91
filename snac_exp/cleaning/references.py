"""Which runs others refer to: by name in configs, comparisons, evaluations, exports, and by links.

Names TIME-HASH are told from all other text, so a mention counts wherever it stands and however the path before it is
written; paths of configs are followed through links too.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from snac_exp.cleaning.usage import MOST_TEXT_BYTES, Usage
from snac_exp.errors import ConfigError
from snac_exp.tracking.run_folder import RunFolder

RUN_NAME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{6}(?:-\d+)?"
"""What a run or a sweep is called by itself: TIME-HASH, and a number where two began at once."""
_MENTION = re.compile(rf"(?<!\d)({RUN_NAME})(?![0-9a-f])(?:/([0-9a-f]{{6}})(?![0-9a-f]))?".encode())
_PATH = re.compile(r"""^\s*(?:- |[\w.]+: )['"]?(/.*?)['"]?$""", re.MULTILINE)
_PARQUET = ".parquet"
_TEXTS = (_PARQUET, ".json", ".yaml", ".yml", ".md", ".txt", ".toml", ".csv")
_FOOTER_BYTES = 1 << 18  # in which a Parquet file says what it was made from


def referred(runs: Iterable[Path], sweeps: Mapping[Path, list[Path]], usages: Iterable[Usage],
             others: Iterable[Path]) -> dict[Path, Path]:  # fmt: skip
    """Runs and sweeps that something else refers to, each with one such file or link.

    runs: all, jobs too. sweeps: with their jobs. others: further folders whose files may name runs.

    Raises:
        ConfigError: one of them cannot be read.
    """
    index = _Index([*runs], sweeps)
    found: dict[Path, Path] = {}
    for usage in usages:
        for link, target in usage.links:
            index.note(found, link, index.holding(target))
        for path in usage.texts:
            _look_into(path, index, found)
    for folder in others:
        for path in _texts_below(folder):
            _look_into(path, index, found)
    return found


class _Index:
    """Runs by their names and places."""

    def __init__(self, runs: list[Path], sweeps: Mapping[Path, list[Path]]) -> None:
        self._sweep_of = {job: sweep for sweep, jobs in sweeps.items() for job in jobs}
        self._real = {Path(os.path.realpath(run)): run for run in runs}
        self._real |= {Path(os.path.realpath(sweep)): sweep for sweep in sweeps}
        self._named: dict[tuple[str, str], list[Path]] = {(sweep.name, ""): [] for sweep in sweeps}
        for sweep in sweeps:
            self._named[sweep.name, ""].append(sweep)
        for run in runs:
            holder = self._sweep_of.get(run)
            key = (run.name, "") if holder is None else (holder.name, run.name)
            self._named.setdefault(key, []).append(run)
            if holder is not None:  # a mention of the sweep is one of all its jobs
                self._named.setdefault((holder.name, ""), []).append(run)

    def named(self, name: str, job: str) -> list[Path]:
        """The runs that a mention means."""
        return self._named.get((name, job)) or self._named.get((name, ""), [])

    def holding(self, target: Path) -> list[Path]:
        """The run in which a resolved path lies."""
        return [self._real[place] for place in (target, *target.parents) if place in self._real]

    def note(self, found: dict[Path, Path], referrer: Path, runs: Iterable[Path]) -> None:
        """Note that a file refers to runs; not of a file in the run itself, nor of a sweep's own files of its jobs."""
        for run in runs:
            sweep = self._sweep_of.get(run)
            is_own = referrer.is_relative_to(run) or (
                sweep is not None and referrer.is_relative_to(sweep) and not self._in_another_job(referrer, sweep)
            )
            if not is_own:
                found.setdefault(run, referrer)

    def _in_another_job(self, referrer: Path, sweep: Path) -> bool:
        return self._sweep_of.get(sweep / referrer.relative_to(sweep).parts[0]) is not None


def _look_into(path: Path, index: _Index, found: dict[Path, Path]) -> None:
    try:
        with open(path, "rb") as file:
            if path.suffix == _PARQUET:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _FOOTER_BYTES))
            content = file.read(MOST_TEXT_BYTES)
    except FileNotFoundError:
        return  # gone since it was listed
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}), and may name a run; nothing is cleaned") from None
    for name, job in {(match[1].decode(), (match[2] or b"").decode()) for match in _MENTION.finditer(content)}:
        index.note(found, path, index.named(name, job))
    if path.name == RunFolder(path.parent).config.name:
        for written in {*_PATH.findall(content.decode(errors="replace"))}:
            index.note(found, path, index.holding(Path(os.path.realpath(written))))


def _texts_below(folder: Path) -> Iterable[Path]:
    for name, _, files in os.walk(folder):
        for file in files:
            path = Path(name) / file
            if path.suffix in _TEXTS:
                yield path
