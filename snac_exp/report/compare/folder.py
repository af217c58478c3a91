"""The folder of a comparison: comparison.html, comparison.md, comparison.parquet, and key.json where it is blind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.report.compare.comparison import Comparison, ComparisonSettings, Source, compare
from snac_exp.report.compare.page import comparison_page
from snac_exp.report.compare.sounds import listening_of
from snac_exp.report.compare.text import markdown, write_rows
from snac_exp.system.files import removed_on_error, write_json, write_text
from snac_exp.system.paths.writing import require_writable

PAGE_FILE, TEXT_FILE, ROWS_FILE, KEY_FILE = "comparison.html", "comparison.md", "comparison.parquet", "key.json"


@dataclass(frozen=True)
class Sound:
    """How runs are listened to: blind with an order drawn from the seed, or side by side; at most so many megabytes."""

    blind: bool = False
    seed: int = 0
    most_megabytes: float = 24.0


def write_comparison(sources: Sequence[Source], settings: ComparisonSettings, sound: Sound, folder: Path) -> Comparison:
    """Compare runs and write a new folder; returns the comparison.

    Raises:
        ConfigError: the folder is there already, or the runs cannot be compared so.
    """
    _refuse_there(folder)
    require_writable(folder)
    # All is computed before the folder is made: what cannot be compared leaves nothing behind.
    comparison = compare(sources, settings)
    listening = listening_of(comparison, blind=sound.blind, seed=sound.seed, most_megabytes=sound.most_megabytes)
    page = comparison_page(comparison, listening)
    _refuse_there(folder)  # another command may have made it meanwhile
    folder.mkdir(parents=True, exist_ok=False)
    with removed_on_error(folder):
        write_rows(comparison, folder / ROWS_FILE)
        write_text(folder / TEXT_FILE, markdown(comparison))
        # In the clear only here: the page holds it encoded, so that no glance at its source tells.
        if listening.keys:
            write_json(folder / KEY_FILE, listening.keys)
        # Last: where the page is, all that it belongs to is there.
        write_text(folder / PAGE_FILE, page)
    return comparison


def _refuse_there(folder: Path) -> None:
    if folder.exists():
        raise ConfigError(f"output={folder} already exists and is not overwritten; name a new folder")
