"""All runs below a folder, kept up to date: what changed since a reader last asked is told apart by revisions."""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.board.entry import Entry, Place
from snac_exp.board.folders import Folders
from snac_exp.board.inside import Inside, Kept
from snac_exp.errors import ConfigError
from snac_exp.sweeps.ledger import Row, read_ledger
from snac_exp.sweeps.sweep import Sweep
from snac_exp.tracking.run_state import queue_states
from snac_exp.tracking.sweep_folder import SweepFolder

QUEUE_SECONDS = 30.0  # between two questions to SLURM, since every call takes long and loads the cluster
_SHOW_SECONDS = 0.5  # while much is read for the first time, what is known already is shown so often
_MOST_GONE = 10_000  # removed runs that are remembered

Always = Callable[[], bool]


class SweepFiles:
    """A sweep's settings and ledger, read and never written: who shows a sweep does not keep its books."""

    def __init__(self, inside: Inside, path: Path) -> None:
        folder = SweepFolder(path)
        self._path = path
        self._sweep: Kept[Sweep | None] = Kept(inside, folder.sweep_file, lambda: Sweep(path), None)
        self._rows: Kept[list[Row]] = Kept(inside, folder.ledger, lambda: read_ledger(folder), [])

    def places(self) -> list[Place]:
        """Its jobs; a damaged sweep is one place that says why."""
        try:
            sweep, rows = self._sweep.get(), self._rows.get()
        except ConfigError as error:
            return [Place(self._path, self._path, damage=str(error))]
        return [] if sweep is None else [self._place(sweep, row) for row in rows]

    def _place(self, sweep: Sweep, row: Row) -> Place:
        run_dir, damage = self._path / row.run_dir, None
        if Path(row.run_dir).name != row.run_dir or run_dir.is_symlink():
            damage = f"{sweep.ledger} names {row.run_dir} for a run folder, which does not lie in the sweep; restore it"
            run_dir = self._path / row.hash.replace("/", "_")
        return Place(run_dir, self._path, sweep.settings, row, damage)


@dataclass(frozen=True)
class _Shown:
    """A row as it is shown, and since which revision."""

    revision: int
    values: Mapping[str, Any]
    entry: Entry


class Index:
    """The runs of a folder. `refresh` is for one thread; all else may be asked by any."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._inside = folder, Inside(folder)
        self._folders, self._sweeps = Folders(folder), dict[Path, SweepFiles]()
        self._entries: dict[Path, Entry] = {}
        self._queue: dict[str, str] = {}
        self._asked: tuple[float, frozenset[str]] = (0.0, frozenset())
        self._lock, self._start = threading.Lock(), secrets.token_hex(4)
        self._revision = 0
        self._rows: dict[str, _Shown] = {}
        self._gone: list[tuple[int, str]] = []
        self._names: list[str] = []
        self._named, self._reading, self.num_refreshes = 0, (0, 0), 0

    @property
    def inside(self) -> Inside:
        """Which files may be read."""
        return self._inside

    def entry(self, run: str) -> Entry:
        """A run by its id.

        Raises:
            ConfigError: there is none.
        """
        with self._lock:
            shown = self._rows.get(run)
        if shown is None:
            raise ConfigError("there is no such run any more; it was removed or renamed")
        return shown.entry

    def refresh(self, goes_on: Always = lambda: True) -> None:
        """Look at everything once; ends early where `goes_on` says no."""
        places = {place.run_dir: place for place in self._places()}
        self._entries = {
            run_dir: self._entries.get(run_dir) or Entry(self._inside, place) for run_dir, place in places.items()
        }
        queue, shown, changed = self._queue_now(), time.monotonic(), list[Entry]()
        for run_dir, entry in self._entries.items():
            if entry.look(places[run_dir], queue) or entry.id not in self._rows:
                changed.append(entry)
            if not goes_on():
                return
            if time.monotonic() - shown > _SHOW_SECONDS:
                self._show(changed, (0, len(places)))
                shown, changed = time.monotonic(), []
        self._show(changed, self._reading)
        self._read_metrics(goes_on)
        self.num_refreshes += 1

    def changes(self, since: str, metrics: Sequence[str], is_behind: bool = False) -> dict[str, Any]:
        """What a reader with the token `since` does not know yet, as JSON takes it; everything to a new one.

        metrics: names whose values stand in the rows. is_behind: what is known is of long ago, and is read anew.
        """
        with self._lock:
            rows, gone, revision, names = self._rows, self._gone, self._revision, self._names
            named, reading = self._named, (0, len(rows)) if is_behind else self._reading
        start, _, number = since.partition("-")
        known = int(number) if start == self._start and number.isascii() and number.isdigit() else -1
        if gone and known < gone[0][0] and len(gone) >= _MOST_GONE:
            known = -1
        return {
            "token": f"{self._start}-{revision}",
            "is_full": known < 0,
            "folder": str(self.folder),
            "now": time.time(),
            "reading": None if reading[0] >= reading[1] and self.num_refreshes and not is_behind else reading,
            "problem": None if self.folder.is_dir() else f"there is no folder {self.folder} any more",
            "rows": [
                {**shown.values, "values": shown.entry.values(metrics)}
                for shown in rows.values()
                if shown.revision > known
            ],
            "gone": [run for changed, run in gone if changed > known >= 0],
            "names": names if named > known else None,
        }

    def _places(self) -> Iterable[Place]:
        sweeps = {}
        for path, is_sweep in self._folders.runs_and_sweeps():
            if is_sweep:
                sweeps[path] = self._sweeps.get(path) or SweepFiles(self._inside, path)
                yield from sweeps[path].places()
            else:
                yield Place(path)
        self._sweeps = sweeps

    def _queue_now(self) -> dict[str, str]:
        """States of jobs in their queues; asked anew after a while, or for jobs that are new."""
        jobs = dict(found for entry in self._entries.values() if (found := entry.job_to_ask()) is not None)
        when, known = self._asked
        if time.monotonic() - when > QUEUE_SECONDS or set(jobs) - known:
            self._queue = queue_states(jobs)
            self._asked = time.monotonic(), frozenset(jobs)
        return self._queue

    def _read_metrics(self, goes_on: Always) -> None:
        """Read what was added, the runs that spoke last first."""
        waiting = [entry for entry in self._entries.values() if entry.wants_reading()]
        waiting.sort(key=lambda entry: entry.updated, reverse=True)
        shown, changed = time.monotonic(), list[Entry]()
        for number, entry in enumerate(waiting):
            while goes_on() and entry.read_metrics():
                pass
            if not goes_on():
                return
            changed.append(entry)
            if time.monotonic() - shown > _SHOW_SECONDS:
                self._show(changed, (number, len(waiting)))
                shown, changed = time.monotonic(), []
        self._show(changed, (len(waiting), len(waiting)))

    def _show(self, changed: Iterable[Entry], reading: tuple[int, int]) -> None:
        """Make what is known of the changed runs, and which there are, what readers are told."""
        revision, present = self._revision + 1, {entry.id for entry in self._entries.values()}
        gone = [run for run in self._rows if run not in present]
        rows = {run: shown for run, shown in self._rows.items() if run in present} if gone else dict(self._rows)
        for entry in changed:
            values, known = entry.row(), rows.get(entry.id)
            if known is None or known.values != values or known.entry is not entry:
                rows[entry.id] = _Shown(revision, values, entry)
        # Only a run that is removed can take a name with it.
        named = (shown.entry for shown in rows.values()) if gone else changed
        names = sorted(set([] if gone else self._names).union(*(entry.figures.names for entry in named)))
        with self._lock:
            self._gone = [*self._gone, *((revision, run) for run in gone)][-_MOST_GONE:]
            self._rows, self._revision, self._reading = rows, revision, reading
            if names != self._names:
                self._names, self._named = names, revision
