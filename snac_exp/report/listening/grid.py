"""Sound to compare: the signals of one clip as rows, epochs or runs as columns, a spectrogram behind every cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snac_exp.errors import DataError
from snac_exp.report.charts.colours import tint
from snac_exp.report.charts.lines import Tick
from snac_exp.report.charts.spectrogram import picture, powers
from snac_exp.report.listening.clips import REFERENCE
from snac_exp.report.listening.media import Embedded, Sound, embedded_picture, embedded_sound, read_sound
from snac_exp.report.numbers import nice_ticks, tick_labels

Paths = Sequence[Path | None]


@dataclass(frozen=True)
class Cell:
    """One sound. title: says which, for those who do not see the table. short: the same beside the clip's name.

    picture: None where it would tell too much, and then `face` stands in its place.
    """

    title: str
    short: str
    face: str
    sound: Embedded
    picture: Embedded | None
    seconds: float
    khz: float


@dataclass(frozen=True)
class Row:
    """One signal: a cell per column, None where there is none; a single cell where all columns would be the same."""

    label: str
    tint: str
    cells: list[Cell | None]
    is_shared: bool


@dataclass(frozen=True)
class ClipGrid:
    """A clip, ready for the page. line_khz: where the codec's own band ends. problems: files that could not be read."""

    title: str
    columns: list[str]
    rows: list[Row]
    seconds: float
    top_khz: float
    line_khz: float
    problems: list[str] = field(default_factory=list)
    about: str = ""

    @property
    def cells(self) -> list[Cell]:
        """All sounds."""
        return [cell for row in self.rows for cell in row.cells if cell is not None]

    @property
    def has_pictures(self) -> bool:
        """Whether there is a spectrogram to show."""
        return any(cell.picture is not None for cell in self.cells)

    @property
    def khz_ticks(self) -> list[Tick]:
        """The frequency axis, from the bottom."""
        if self.top_khz % 4 == 0:  # 0, 6, 12, 18, 24: where the codec's own band ends is among them
            return [Tick(25.0 * quarter, f"{quarter * self.top_khz / 4:g}") for quarter in range(5)]
        return _ticks(self.top_khz, 5)

    @property
    def time_ticks(self) -> list[Tick]:
        """The time axis in seconds."""
        return _ticks(self.seconds, 6)


def make_grid(
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Paths],
    *,
    pictured: bool = True,
    merged: bool = True,
    about: str = "",
) -> ClipGrid:
    """Read and embed the files of a clip: `rows[label]` has a path per column.

    Levels are relative to the peak of the reference (without one: of the loudest signal), so equal colours are equal
    levels. References are one cell, and so is with `merged` any row whose files are all equal. A file that cannot be
    read leaves its cell empty and is named in `problems`.
    """
    problems: list[str] = []
    sounds = {label: [_read(path, problems) for path in _merged(label, paths, merged)] for label, paths in rows.items()}
    every = [sound for of_label in sounds.values() for sound in of_label if sound is not None]
    if not every:
        return ClipGrid(title, list(columns), [], 0.0, 1.0, 1.0, problems, about)
    references = [
        sound for label, of_label in sounds.items() if label.startswith(REFERENCE) for sound in of_label if sound
    ]
    # One peak for all cells: were each scaled to its own, a quiet output would look like a loud one.
    peak = max(float(powers(sound).max()) for sound in references or every) if pictured else None
    # All pictures reach as high as the highest rate, so that equal heights are equal frequencies.
    top_hz = max(sound.rate for sound in every) / 2
    made = []
    for label, of_label in sounds.items():
        shared, signal = len(of_label) < len(columns), label.replace("_", " ")
        names = [signal] if shared else [f"{signal}, {column}" for column in columns]
        faces = [signal] if shared else columns
        cells = [
            _cell(title, name, face, sound, peak, top_hz)
            for name, face, sound in zip(names, faces, of_label, strict=True)
        ]
        made.append(Row(signal, tint(label), cells, shared))
    lengths, rates = [sound.seconds for sound in every], [sound.rate for sound in every]
    # The lowest rate is the codec's own; above half of it only the wide outputs have a band.
    return ClipGrid(title, list(columns), made, max(lengths), top_hz / 1000, min(rates) / 2000, problems, about)


def _merged(label: str, paths: Paths, merged: bool) -> Paths:
    """One path where several files are all equal; references always are one, wherever one of them lies."""
    present = [path for path in paths if path is not None]
    # The reference does not change from epoch to epoch, so it is shown once.
    if label.startswith(REFERENCE) and len(paths) > 1:
        return present[:1]
    # Compared by content: outputs that no training changed, such as those of the pretrained codec, are one cell.
    if merged and len(present) == len(paths) > 1 and len({path.read_bytes() for path in present}) == 1:
        return present[:1]
    return paths


def _read(path: Path | None, problems: list[str]) -> Sound | None:
    """A file's sound; None where there is no file or it cannot be read, which is noted in `problems`."""
    if path is None:
        return None
    try:
        return read_sound(path)
    except DataError as error:
        problems.append(str(error))  # shown on the page, where the cell stays empty
        return None


def _cell(title: str, name: str, face: str, sound: Sound | None, peak: float | None, top_hz: float) -> Cell | None:
    if sound is None:
        return None
    image = None if peak is None else embedded_picture(picture(powers(sound), sound.rate, peak, top_hz))
    return Cell(f"{title}, {name}", name, face, embedded_sound(sound), image, sound.seconds, sound.rate / 2000)


def _ticks(high: float, most: int) -> list[Tick]:
    values = nice_ticks(0.0, high, most)
    return [Tick(100 * value / high, text) for value, text in zip(values, tick_labels(values), strict=True)]
