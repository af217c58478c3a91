"""The trash of an outputs folder: what was cleaned lies in .trash/ID, with a manifest of where it belongs.

OUTPUTS/.trash/ID/
    manifest.json    what is to be moved, written before the first is; with it both a clean and an undo can be finished
    files/PATH       as it lay in the outputs folder

Everything is renamed within one file system: it is here or there, never in part.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from snac_exp.cleaning.liveness import holding, jobs_of, unended
from snac_exp.cleaning.plan import Move
from snac_exp.cleaning.references import RUN_NAME
from snac_exp.errors import ConfigError
from snac_exp.status.folders import TRASH
from snac_exp.system.files import write_signed_json
from snac_exp.system.folder_lock import locked
from snac_exp.tracking.json_files import TEXT_OR_NONE, Shape, read_object, require_shape
from snac_exp.tracking.run_folder import RunFolder, exclusive_folder
from snac_exp.tracking.run_state import queue_states

LAST = "last"  # instead of an id
_MANIFEST, _FILES, _DELETING = "manifest.json", "files", ".deleting"
_SHAPE: Shape = {"moves": list}
_MOVE: Shape = {"path": str, "num_bytes": int, "part_of": TEXT_OR_NONE}


@dataclass(frozen=True)
class Stored:
    """A move of a manifest. path, part_of: below the outputs folder."""

    path: Path
    num_bytes: int
    part_of: Path | None


class Trash:
    """The trash of one outputs folder, which is given resolved."""

    def __init__(self, outputs: Path) -> None:
        self.outputs, self.path = outputs, outputs / TRASH

    def ids(self) -> list[str]:
        """What was cleaned, the oldest first: by number, since a second is long and a clock may go back."""
        if not self.path.is_dir():
            return []
        found = [path.name for path in self.path.iterdir() if re.fullmatch(RUN_NAME, path.name) and path.is_dir()]
        return sorted(found, key=lambda ident: (_number(ident), ident))

    def contents(self, ident: str) -> list[Stored]:
        """What a manifest says, moved or not.

        Raises:
            ConfigError: there is no such id, or the manifest is damaged.
        """
        if ident not in self.ids():
            raise ConfigError(f"undo={ident}: {self.path} has {', '.join(self.ids()) or 'nothing'}")
        manifest = self.path / ident / _MANIFEST
        if not manifest.exists() and not any((self.path / ident).iterdir()):
            return []  # an undo was killed behind its last step but one
        found = read_object(manifest, _SHAPE)
        for number, move in enumerate(found["moves"], start=1):
            require_shape(manifest, move, _MOVE, f"move {number}")
        return [
            Stored(_inside(manifest, move["path"]), move["num_bytes"],
                   None if move["part_of"] is None else _inside(manifest, move["part_of"]))
            for move in found["moves"]
        ]  # fmt: skip

    def place(self, ident: str, path: Path) -> Path:
        """Where in the trash something lies."""
        return self.path / ident / _FILES / path

    def take(self, moves: Sequence[Move]) -> tuple[str, list[str]]:
        """Move all into the trash; its id, and what stayed after all with the reason.

        Raises:
            ConfigError: another process cleans.
            OSError: the system refuses a move; what was moved until then is in the manifest.
        """
        self.path.mkdir(exist_ok=True)
        left: list[str] = []
        with locked(self.path):
            ident, queue = self._begin(moves), _queue_of(moves)
            for move in moves:
                with _held(move, queue) as why:
                    why = why or self._way_changed(move.path)
                    if why is None:
                        self._move(self.outputs / move.path, self.place(ident, move.path))
                    else:
                        left.append(f"{move.path}: {why}")
            if len(left) == len(moves):
                self._remove(ident)
        return ident, left

    def undo(self, ident: str) -> list[Path]:
        """Put everything of an id back where it was; returns what was put back.

        Raises:
            ConfigError: something is in the way, or missing; then nothing is moved.
        """
        with self._locked():
            ident = self.ids()[-1] if ident == LAST and self.ids() else ident
            moves = self.contents(ident)
            back = [move for move in moves if self._is_in_trash(ident, move)]
            for move in back:
                if os.path.lexists(self.outputs / move.path):
                    raise ConfigError(f"{self.outputs / move.path} is there again; move it away, then undo={ident}")
                if why := self._way_changed(move.path) or self._gone(move):
                    raise ConfigError(f"undo={ident}: {move.path}: {why}; nothing was moved")
            for move in back:
                self._move(self.place(ident, move.path), self.outputs / move.path)
            self._remove(ident)
        return [move.path for move in back]

    def empty(self) -> tuple[list[str], int]:
        """Delete the trash for good; the ids, and the bytes of them.

        Raises:
            ConfigError: a run in it is held by a process, or a manifest is damaged; then nothing is deleted.
        """
        if not self.path.is_dir():
            return [], 0
        with self._locked():
            ids = self.ids()
            known = {ident: self.contents(ident) for ident in ids}
            there = [
                (ident, move) for ident, moves in known.items() for move in moves if self._is_in_trash(ident, move)
            ]
            for ident, move in there:
                self._refuse_live(self.place(ident, move.path))
            for ident in ids:
                # Before anything is deleted it has another name: what is deleted in part cannot be put back.
                (self.path / ident).rename(self.path / f"{ident}{_DELETING}")
            for path in sorted(self.path.glob(f"*{_DELETING}")):
                if re.fullmatch(RUN_NAME, path.name.removesuffix(_DELETING)) and not path.is_symlink():
                    shutil.rmtree(path)
        return ids, sum(move.num_bytes for _, move in there)

    def _remove(self, ident: str) -> None:
        """Remove an id of which everything was put back; the manifest last but one, since it tells how to go on."""
        files = self.path / ident / _FILES
        _remove_empty(files)
        if files.exists():
            raise ConfigError(f"{files} holds what no clean put there; move it away, then run undo={ident} again")
        (self.path / ident / _MANIFEST).unlink(missing_ok=True)
        (self.path / ident).rmdir()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.path.is_dir():
            raise ConfigError(f"{self.outputs} has no trash")
        with locked(self.path):
            yield

    def _begin(self, moves: Sequence[Move]) -> str:
        stored = [
            {"path": str(move.path), "num_bytes": move.num_bytes, "part_of": move.part_of and str(move.part_of)}
            for move in moves
        ]
        number = 1 + max(map(_number, self.ids()), default=0)

        def fill(path: Path) -> None:
            write_signed_json(path / _MANIFEST, {"created": time.time(), "moves": stored})

        return exclusive_folder(self.path, f"{number:06x}", fill).name

    def _move(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        # rename alone: shutil.move would copy, and a copy can end half-way.
        os.rename(source, target)

    def _way_changed(self, path: Path) -> str | None:
        """Why a path below the outputs folder does not lead where it says: a link on the way."""
        for part in (path, *path.parents):
            if (self.outputs / part).is_symlink():
                return f"{self.outputs / part} is a link"
        return None

    def _gone(self, move: Stored) -> str | None:
        if move.part_of is None or RunFolder(self.outputs / move.part_of).exists:
            return None
        return f"the run {move.part_of}, whose part it is, is not there; put that back first"

    def _is_in_trash(self, ident: str, move: Stored) -> bool:
        """Whether a move was made and not undone.

        Raises:
            ConfigError: it is neither in the trash nor where it was.
        """
        if os.path.lexists(self.place(ident, move.path)):
            return True
        if not os.path.lexists(self.outputs / move.path):
            raise ConfigError(
                f"{move.path} is neither in {self.path / ident} nor in {self.outputs}: somebody moved it; put it back, "
                f"or take what is wanted out of {self.path / ident} by hand and remove that"
            )
        return False

    def _refuse_live(self, path: Path) -> None:
        for folder in (path, *(inner for inner in path.iterdir() if inner.is_dir() and not inner.is_symlink())):
            if (why := holding(folder)) is not None:
                raise ConfigError(f"{folder}: {why}; nothing was deleted")


def _number(ident: str) -> int:
    """The number in a name of TIME-NUMBER: so many cleans were before it."""
    return int(ident.split("-")[5], 16)


def _queue_of(moves: Sequence[Move]) -> dict[str, str]:
    """What the queue says of all jobs, asked once more: minutes may have passed since it was looked at."""
    jobs: dict[str, str] = {}
    for run_dir, row in (pair for move in moves for pair in move.runs):
        jobs |= jobs_of(run_dir, row)
    return queue_states(jobs)


@contextmanager
def _held(move: Move, queue: Mapping[str, str]) -> Iterator[str | None]:
    """Hold what is moved, so that nobody begins it meanwhile; gives why it must stay after all."""
    with ExitStack() as stack:
        why = _take_locks(move, queue, stack)
        yield why


def _take_locks(move: Move, queue: Mapping[str, str], stack: ExitStack) -> str | None:
    try:
        for folder in [*([move.sweep] if move.sweep is not None else []), *(path for path, _ in move.runs)]:
            stack.enter_context(locked(folder))
    except (ConfigError, FileNotFoundError) as error:
        return str(error)
    return next((why for path, row in move.runs if (why := unended(path, row, queue)[1]) is not None), None)


def _inside(manifest: Path, text: str) -> Path:
    """A path of a manifest, which must stay below the outputs folder."""
    path = Path(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] == TRASH:
        raise ConfigError(f"{manifest} is damaged: {text} leads out of the folder; restore it")
    return path


def _remove_empty(folder: Path) -> None:
    """Remove folders that hold nothing, from within; of others nothing."""
    for name, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(name):
            os.rmdir(name)
