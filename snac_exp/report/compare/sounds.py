"""The sounds of a comparison: the same speech from every run, side by side or blind."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.report.compare.blind import Blind, shuffled
from snac_exp.report.compare.comparison import Comparison
from snac_exp.report.listening.clips import REFERENCE, Clip
from snac_exp.report.listening.grid import Deck, make_deck

FLAC_SHARE = 0.6
"""Of a wav's bytes, about."""

Found = Sequence[tuple[int, Clip]]
"""Runs that have a clip, by their place in the comparison."""


@dataclass(frozen=True)
class Listening:
    """The sounds of a comparison. keys: of blind decks, by title; notes: what is not there and why."""

    decks: list[tuple[Deck, Blind | None]]
    notes: list[str]

    @property
    def keys(self) -> dict[str, dict[str, object]]:
        """What the letters mean, for the file beside the page."""
        return {deck.title: blind.key() for deck, blind in self.decks if blind is not None}


def listening_of(comparison: Comparison, *, blind: bool, seed: int, most_megabytes: float) -> Listening:
    """The newest sounds of every clip that two runs or more have in common: those whose references are the same bytes.

    Clips are named alike in all runs, but with another seed or other data they are other speech.
    """
    groups: dict[str, list[tuple[int, Clip]]] = {}
    for place, entry in enumerate(comparison.entries):
        for clip in entry.record.clips:
            groups.setdefault(_digest(clip), []).append((place, clip))
    common = {digest: found for digest, found in groups.items() if digest and len({place for place, _ in found}) > 1}
    decks: list[tuple[Deck, Blind | None]] = []
    notes: list[str] = []
    room = most_megabytes * 1e6
    for title, found in _titled(list(common.values())):
        kept = _within(found, room)
        if len(kept) < 2:
            notes.append(f"{title} is left out to keep the page small; more fits with max_megabytes=")
            continue
        if len(kept) < len(found):
            notes.append(f"{title}: the best {len(kept)} of {len(found)} runs, to keep the page small")
        made = _blind_decks(comparison, title, kept, seed) if blind else [(_deck(comparison, title, kept), None)]
        decks += made
        room -= sum(cell.sound.num_bytes for deck, _ in made for cell in deck.cells)
    alone = sum(len(found) for digest, found in groups.items() if digest not in common)
    if alone:
        notes.append(f"{alone} clips are of speech that no other run has, so they are not set side by side")
    return Listening(decks, notes)


def _titled(groups: Sequence[Found]) -> list[tuple[str, Found]]:
    """A name of its own for every clip: clips of one name that are other speech are numbered."""
    names = [found[0][1].name for found in groups]
    titles = []
    for index, name in enumerate(names):
        number = names[: index + 1].count(name)
        titles.append(f"{name}, speech {number}" if names.count(name) > 1 else name)
    return list(zip(titles, groups, strict=True))


def _digest(clip: Clip) -> str:
    """What a clip is: a hash of its reference's bytes; empty without a reference."""
    references = [path for label, path in clip.newest().items() if label.startswith(REFERENCE)]
    return hashlib.sha256(references[0].read_bytes()).hexdigest() if references else ""


def _within(found: Found, room: float) -> list[tuple[int, Clip]]:
    """As many runs, the best first, as there is room for."""
    kept, used = [], 0.0
    for place, clip in found:
        used += sum(FLAC_SHARE * path.stat().st_size for label, path in clip.newest().items() if label[:3] != "ref")
        if used > room:
            break
        kept.append((place, clip))
    return kept


def _deck(comparison: Comparison, title: str, found: Found) -> Deck:
    columns = [f"{place + 1} · {comparison.entries[place].label}" for place, _ in found]
    labels = list(dict.fromkeys(label for _, clip in found for label in clip.labels))
    rows = {label: [clip.newest().get(label) for _, clip in found] for label in labels}
    epochs = sorted({max(clip.files) for _, clip in found})
    return make_deck(title, columns, rows, about=f"epoch {' or '.join(map(str, epochs))}")


def _blind_decks(comparison: Comparison, title: str, found: Found, seed: int) -> list[tuple[Deck, Blind | None]]:
    """A deck per voice, since every voice has an order of its own."""
    decks: list[tuple[Deck, Blind | None]] = []
    labels = dict.fromkeys(label for _, clip in found for label in clip.labels if not label.startswith(REFERENCE))
    for label in labels:
        sharing = [(place, clip) for place, clip in found if label in clip.newest()]
        if len(sharing) < 2:
            continue
        name = f"{title}, {label}"
        key = shuffled([comparison.entries[place].label for place, _ in sharing], seed, name)
        paths: list[Path | None] = [sharing[place][1].newest()[label] for place in key.places]
        references = {other: path for other, path in sharing[0][1].newest().items() if other.startswith(REFERENCE)}
        rows = {other: [path] * len(paths) for other, path in references.items()} | {label: paths}
        decks.append((make_deck(name, key.columns, rows, pictured=False, merged=False, about="order unknown"), key))
    return decks
