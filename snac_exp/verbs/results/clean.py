"""List the disk use of an outputs folder, run by run; move runs into a trash, and restore them.

usage: snac-exp clean [DIR] [keep_best=1] [keep_last=3] [keep_younger=7d] [keep_winners=1] [key=value …]
       snac-exp clean [DIR] … apply=true              move what the same command without apply= says would go
       snac-exp clean [DIR] undo=ID|last              put it back
       snac-exp clean [DIR] empty=true                delete the trash for good

DIR is outputs by default. Runs are kept if they are running, queued or resumable, if another run, a comparison or an
evaluation refers to them, or if their state is unknown. In a sweep that is kept, jobs lose only their checkpoints,
samples and trackers' files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snac_exp.cleaning.plan import moves_of
from snac_exp.cleaning.rules import Rules, keep, seconds_of
from snac_exp.cleaning.survey import require_outputs, survey
from snac_exp.cleaning.table import as_json, as_table, lines_of, size_text
from snac_exp.cleaning.trash import Trash
from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.status.folders import TRASH
from snac_exp.system.terminal import console
from snac_exp.verbs.arguments import folders_and_options


@dataclass(frozen=True)
class Options:
    """The keys of conf/clean.yaml."""

    keep_best: int
    keep_last: int
    keep_tagged: bool | list[str]
    keep_younger: str
    keep_winners: int
    metric: str
    referrers: list[str]
    apply: bool
    undo: str | None
    empty: bool
    format: Literal["table", "json"]


def main(arguments: Sequence[str]) -> int:
    """Show, move, put back or delete."""
    folders, given = folders_and_options(arguments, list(Options.__dataclass_fields__))
    options = structure(Options, verb_values("clean", [_quoted(item) for item in given]))
    if len(folders) > 1:
        raise ConfigError(f"one outputs folder at a time, not {len(folders)}")
    folder = folders[0] if folders else Path("outputs")
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; give the one that holds runs: snac-exp clean DIR")
    if options.apply + (options.undo is not None) + options.empty > 1:
        raise ConfigError("apply=, undo= and empty= go alone")
    if options.undo is not None or options.empty:
        return _trash(folder, options)
    return _clean(folder, options)


def _quoted(argument: str) -> str:
    """Text that Hydra would take for a number: an id begins with a year, a duration may be 0."""
    key, _, value = argument.partition("=")
    is_text = key in ("undo", "keep_younger") and value not in ("", "null") and value[0] not in "'\""
    return f"{key}='{value}'" if is_text else argument


def _trash(folder: Path, options: Options) -> int:
    trash = Trash(require_outputs(folder))
    if options.undo is not None:
        paths = trash.undo(options.undo)
        print("\n".join([*(f"back: {folder / path}" for path in paths), f"{len(paths)} put back"]))
        return 0
    ids, num_bytes = trash.empty()
    print(f"deleted: {' '.join(ids) or 'nothing'}{f', {size_text(num_bytes)}' if num_bytes else ''}")
    return 0


def _clean(folder: Path, options: Options) -> int:
    rules = Rules(options.keep_best, options.keep_last, options.keep_tagged, seconds_of(options.keep_younger),
                  options.keep_winners, options.metric)  # fmt: skip
    found = survey(folder, _referrers(options.referrers))
    keep(found, rules)
    moves, trash = moves_of(found), Trash(found.outputs)
    lines = lines_of(found, moves)
    if options.format == "table":
        console().print(as_table(lines, str(folder)))
    done = trash.take(moves) if options.apply and moves else None
    if options.format == "json":
        print(as_json(found, lines, moves, done))
        return 0 if done is None or not done[1] else 1
    freed = size_text(sum(move.num_bytes for move in moves)) or "nothing"
    if done is None:
        print(f"{len(moves)} to move, {freed}; nothing was changed" + ("; to move them: apply=true" if moves else ""))
    else:
        return _said(folder, *done, len(moves))
    if trash.ids():
        print(f"in the trash: {' '.join(trash.ids())}; to put one back: undo=ID, to delete all: empty=true")
    return 0


def _said(folder: Path, ident: str, left: Sequence[str], number: int) -> int:
    """What was moved; the exit status, 1 where something stayed that was to go."""
    print("\n".join(f"stays: {line}" for line in left), end="\n" if left else "")
    print(f"{number - len(left)} moved to {folder / TRASH / ident}")
    print(
        f"to put them back: snac-exp clean {folder} undo={ident}; to free the space: snac-exp clean {folder} empty=true"
    )
    return 1 if left else 0


def _referrers(given: Sequence[str]) -> list[Path]:
    folders = [Path(item).expanduser() for item in given]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"referrers={folder}: there is no such folder")
    return folders
