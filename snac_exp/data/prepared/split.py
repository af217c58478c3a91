"""Which files validate: whole speakers or single files, drawn by seed so that train has its share of the seconds."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal

from snac_exp.config.seeding import derive_seed
from snac_exp.errors import ConfigError, DataError

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


def draw_validation(
    seconds: Mapping[str, float], train_ratio: float, seed: int, of: Literal["speaker", "file"] = "speaker"
) -> set[str]:
    """The groups that validate: in an order drawn by the seed, each that brings their sum closer to its share.

    of: what a group is. At least one group, never all. A group's place in the order depends on its name and the seed
    alone.
    """
    if not 0 < train_ratio < 1:
        raise ConfigError(f"train_ratio={train_ratio} must lie between 0 and 1, e.g. 0.95")
    if len(seconds) < 2:
        mend = "use split=file, put files of each speaker in a folder of its own, or name the column that tells them: "
        mend = f"{mend}'columns={{speaker: NAME}}'" if of == "speaker" else "one is to train on, one to validate on"
        raise DataError(f"only {len(seconds)} {of} to split: {', '.join(seconds) or 'none'}; {mend}")
    wanted = (1 - train_ratio) * sum(seconds.values())
    chosen: set[str] = set()
    total = 0.0
    # Sorted by hash instead of shuffled: a further speaker leaves the order of the others as it was.
    for group in sorted(seconds, key=lambda name: (derive_seed(seed, f"split/{name}"), name)):
        # A group that is too long is passed over; a shorter one that comes later may still fit.
        if len(chosen) < len(seconds) - 1 and abs(total + seconds[group] - wanted) < abs(total - wanted):
            chosen.add(group)
            total += seconds[group]
    # Where every group is too long for its share, the shortest one validates.
    return chosen or {min(seconds, key=lambda name: (seconds[name], name))}


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
