"""Which files validate: whole speakers or single files, drawn by seed so that train has its share of the seconds."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from snac_exp.config.seeding import derive_seed
from snac_exp.errors import ConfigError, DataError

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_GIVEN = {"train": "train", "training": "train"} | dict.fromkeys(
    ("validation", "valid", "val", "dev", "eval"), "validation"
)


def speaker_of(path: str, level: int | None) -> str:
    """Speaker of a file by its relative path: the folder that holds it (null) or its first `level` folders.

    The name is the folder's path below the input folder; files directly in the input folder are speaker ".".
    """
    folders = PurePosixPath(path).parent.parts
    return "/".join(folders if level is None else folders[:level]) or "."


def given_split(name: str | None) -> str | None:
    """Train or validation, by what a source calls it; null for any other split, as one to test on."""
    return _GIVEN.get((name or "").strip().lower())


def draw_validation(seconds: Mapping[str, float], train_ratio: float, seed: int) -> set[str]:
    """The groups that validate, speakers for example: in an order drawn by the seed, each that brings their sum closer
    to its share.

    At least one group, never all. A group's place in the order depends on its name and the seed alone.
    """
    wanted = _wanted(sum(seconds.values()), train_ratio)
    if len(seconds) < 2:
        raise DataError(
            f"only {len(seconds)} speaker to split: {', '.join(seconds) or 'none'}; use split=file, or split=given if "
            "the source has splits, put files of each speaker in a folder of its own, or name the column that "
            "has them: 'columns={speaker: NAME}'"
        )
    names = sorted(seconds)  # which decides where seeds are equal
    chosen = _drawn(names, np.array([seconds[name] for name in names]), wanted, seed)
    return {name for name, validates in zip(names, chosen, strict=True) if validates}


def draw_files(paths: Iterable[str], seconds: Float64Array, train_ratio: float, seed: int) -> BoolArray:
    """The same of single files, millions perhaps, in the order of their paths: (files,), true where a file validates.

    seconds (files,): of each.
    """
    wanted = _wanted(sum(map(float, seconds)), train_ratio)
    if len(seconds) < 2:
        raise DataError(
            f"only {len(seconds)} file to split: {', '.join(paths) or 'none'}; one is to train on, one to validate on"
        )
    return _drawn(paths, seconds, wanted, seed)


def _wanted(seconds: float, train_ratio: float) -> float:
    if not 0 < train_ratio < 1:
        raise ConfigError(f"train_ratio={train_ratio} must lie between 0 and 1, e.g. 0.95")
    return (1 - train_ratio) * seconds


def _drawn(names: Iterable[str], seconds: Float64Array, wanted: float, seed: int) -> BoolArray:
    """Of groups in the order of their names."""
    # Sorted by hash instead of shuffled: a further speaker leaves the order of the others as it was.
    seeds = np.fromiter((derive_seed(seed, f"split/{name}") for name in names), np.int64, len(seconds))
    chosen, num, total = np.zeros(len(seconds), bool), 0, 0.0
    for group in np.argsort(seeds, kind="stable"):
        # A group that is too long is passed over; a shorter one that comes later may still fit.
        if num < len(seconds) - 1 and abs(total + seconds[group] - wanted) < abs(total - wanted):
            chosen[group] = True
            total, num = total + seconds[group], num + 1
    if not num:
        # Where every group is too long for its share, the shortest one validates.
        chosen[seconds.argmin()] = True
    return chosen


def match_speakers(speakers: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Speakers whose name, or last folder, matches one of the shell patterns; a pattern without a match is an error."""
    chosen: set[str] = set()
    for pattern in patterns:
        # fnmatch ignores case on some systems; a recipe must mean the same everywhere.
        matches = {name for name in speakers if fnmatchcase(name, pattern) or fnmatchcase(name.split("/")[-1], pattern)}
        if not matches:
            names = ", ".join(sorted(speakers)[:8])
            raise DataError(f"validation_speakers: no speaker matches {pattern!r}; the first speakers are {names}")
        chosen |= matches
    if chosen == set(speakers):
        raise DataError("validation_speakers match every speaker, none is left to train on; name fewer")
    return chosen
