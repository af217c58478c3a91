"""The sounds of a comparison: the same speech from every run, side by side or blind."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from snac_exp.report.compare.blind import Blind, shuffled
from snac_exp.report.compare.comparison import Comparison
from snac_exp.report.listening.clips import REFERENCE, Clip
from snac_exp.report.listening.grid import ClipGrid, make_grid

FLAC_SHARE = 0.6
"""Of a wav's bytes, about."""

RunClips = Sequence[tuple[int, Clip]]
"""Runs that have a clip, by their place in the comparison."""


@dataclass(frozen=True)
class Listening:
    """The sounds of a comparison. keys: of blind grids, by title; notes: what is not there and why."""

    grids: list[tuple[ClipGrid, Blind | None]]
    notes: list[str]

    @property
    def keys(self) -> dict[str, dict[str, object]]:
        """What the letters mean, for the file beside the page."""
        return {grid.title: blind.key() for grid, blind in self.grids if blind is not None}


def listening_of(comparison: Comparison, *, blind: bool, seed: int, most_megabytes: float) -> Listening:
    """The newest sounds of every clip that two runs or more have in common: those whose references are the same bytes.

    Clips are named alike in all runs, but with another seed or other data they are other speech.
    """
    groups: dict[str, list[tuple[int, Clip]]] = {}
    for place, entry in enumerate(comparison.entries):
        for clip in entry.record.clips:
            # By content, since every run calls its first clip alike.
            groups.setdefault(clip.reference_digest(), []).append((place, clip))
    common = {
        digest: run_clips
        for digest, run_clips in groups.items()
        # Counted by run: two clips of one run are no comparison.
        if digest and len({place for place, _ in run_clips}) > 1
    }
    grids: list[tuple[ClipGrid, Blind | None]] = []
    notes: list[str] = []
    room = most_megabytes * 1e6
    for title, run_clips in _titled(list(common.values())):
        kept = _within(run_clips, room)
        if len(kept) < 2:
            notes.append(f"{title} is left out to keep the page small; more fits with max_megabytes=")
            continue
        if len(kept) < len(run_clips):
            notes.append(f"{title}: the best {len(kept)} of {len(run_clips)} runs, to keep the page small")
        made = _blind_grids(comparison, title, kept, seed) if blind else [(_grid(comparison, title, kept), None)]
        grids += made
        # What has been embedded, not the estimate from the sizes of the wavs.
        room -= sum(cell.sound.num_bytes for grid, _ in made for cell in grid.cells)
    alone = sum(len(run_clips) for digest, run_clips in groups.items() if digest not in common)
    if alone:
        notes.append(f"{alone} clips are of speech that no other run has, so they are not set side by side")
    return Listening(grids, notes)


def _titled(groups: Sequence[RunClips]) -> list[tuple[str, RunClips]]:
    """A name of its own for every clip: clips of one name that are other speech are numbered."""
    names = [run_clips[0][1].name for run_clips in groups]
    titles = []
    for index, name in enumerate(names):
        number = names[: index + 1].count(name)
        titles.append(f"{name}, speech {number}" if names.count(name) > 1 else name)
    return list(zip(titles, groups, strict=True))


def _within(run_clips: RunClips, room: float) -> list[tuple[int, Clip]]:
    """As many runs, the best first, as there is room for."""
    kept, used = [], 0.0
    for place, clip in run_clips:
        # References are embedded once, whatever the number of runs.
        used += sum(FLAC_SHARE * path.stat().st_size for label, path in clip.newest().items() if label[:3] != "ref")
        if used > room:
            break
        kept.append((place, clip))
    return kept


def _grid(comparison: Comparison, title: str, run_clips: RunClips) -> ClipGrid:
    columns = [f"{place + 1} · {comparison.entries[place].label}" for place, _ in run_clips]
    labels = list(dict.fromkeys(label for _, clip in run_clips for label in clip.labels))
    rows = {label: [clip.newest().get(label) for _, clip in run_clips] for label in labels}
    places = sorted({(clip.unit, max(clip.files)) for _, clip in run_clips})
    about = [f"{unit} {' or '.join(str(at) for _, at in group)}" for unit, group in groupby(places, lambda it: it[0])]
    return make_grid(title, columns, rows, about=" or ".join(about))


def _blind_grids(
    comparison: Comparison, title: str, run_clips: RunClips, seed: int
) -> list[tuple[ClipGrid, Blind | None]]:
    """A grid per signal, since every signal has an order of its own."""
    grids: list[tuple[ClipGrid, Blind | None]] = []
    labels = dict.fromkeys(label for _, clip in run_clips for label in clip.labels if not label.startswith(REFERENCE))
    for label in labels:
        # Runs without this head are left out, or an empty letter would give them away.
        sharing = [(place, clip) for place, clip in run_clips if label in clip.newest()]
        if len(sharing) < 2:
            continue
        name = f"{title}, {label}"
        key = shuffled([comparison.entries[place].label for place, _ in sharing], seed, name)
        paths: list[Path | None] = [sharing[place][1].newest()[label] for place in key.places]
        # The references of all runs are the same bytes, see `listening_of`.
        references = {other: path for other, path in sharing[0][1].newest().items() if other.startswith(REFERENCE)}
        rows = {other: [path] * len(paths) for other, path in references.items()} | {label: paths}
        # Neither pictures nor merged cells: both would show which sounds are the same.
        grids.append((make_grid(name, key.columns, rows, pictured=False, merged=False, about="order unknown"), key))
    return grids
