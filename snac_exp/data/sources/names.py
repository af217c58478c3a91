"""What the columns of others are called, and what of a row they mean."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from snac_exp.config.structure import nearest
from snac_exp.data.prepared.places import free_name
from snac_exp.errors import ConfigError, DataError

# The first of these that a source has; those of NeMo, Hugging Face, Common Voice, Kaldi and Lhotse among them.
ALIASES: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "audio_filepath", "audio_path", "path", "file", "file_name", "filename", "wav"),
    "offset": ("offset", "start"),
    "duration": ("duration",),
    "end": ("end",),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "text": ("text", "sentence", "transcription", "transcript"),
    "language": ("language", "lang", "locale"),
    "split": ("split",),
}
_NEARLY = 0.75  # of what `get_close_matches` takes for alike
_KEPT = ("text", "language", "split")  # beside those that become a place or the speaker


@dataclass(frozen=True)
class Names:
    """Which column of a source means what: `columns` names those that have a name of their own."""

    of: Mapping[str, str]

    @classmethod
    def chosen(cls, there: Iterable[str], columns: Mapping[str, str], source: str) -> "Names":
        """By the columns that are there.

        Raises:
            ConfigError: `columns` has a meaning that there is not. DataError: it names a column that is not there.
        """
        there = list(dict.fromkeys(there))
        for meaning, name in columns.items():
            if meaning not in ALIASES:
                raise ConfigError(f"columns.{meaning} is not valid{nearest(meaning, ALIASES)}")
            if name not in there:
                raise DataError(f"{source}: no column {name!r} (columns.{meaning}); {columns_line(there)}")
        found = {
            meaning: next((name for name in aliases if name in there and name not in columns.values()), None)
            for meaning, aliases in ALIASES.items()
        }
        return cls({meaning: name for meaning, name in (found | dict(columns)).items() if name is not None})

    def value(self, row: Mapping[str, Any], meaning: str) -> Any:
        """What a row has of a meaning, null where it has none."""
        return row.get(self.of[meaning]) if meaning in self.of else None

    def number(self, row: Mapping[str, Any], meaning: str, place: str) -> float | None:
        """The same as a number; DataError naming the place where it is none."""
        value = self.value(row, meaning)
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not 0 <= number < float("inf"):
            wrong = "is negative" if number < 0 else "is not a number of seconds"
            raise DataError(f"{place}: {self.of[meaning]}={value!r} {wrong}; fix the line")
        return number

    def speaker(self, row: Mapping[str, Any]) -> str | None:
        """The speaker as text, null where the row has none."""
        value = self.value(row, "speaker")
        return None if value is None or str(value).strip() == "" else str(value)

    def split(self, row: Mapping[str, Any]) -> str | None:
        """What the row calls its split, null where it says nothing."""
        value = self.value(row, "split")
        return None if value is None else str(value)

    def further(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """All columns that stay with the row: text and language under these names, others under their own."""
        kept = {self.of[meaning]: free_name(meaning) for meaning in _KEPT if meaning in self.of}
        gone = {name for meaning, name in self.of.items() if meaning not in _KEPT}
        return {kept.get(name) or free_name(name): value for name, value in row.items() if name not in gone}

    def lines(self, there: Iterable[str]) -> tuple[str, ...]:
        """For people: which columns were taken for what, which others merely stay with the row, and of each of these
        that may be mistyped a warning."""
        read = [name if name == meaning else f"{meaning} = {name}" for meaning, name in self.of.items()]
        kept = [name for name in there if name not in self.of.values()]
        line = f"columns: {', '.join(read) or 'none'}" + (f"; kept as they are: {', '.join(kept)}" if kept else "")
        return line, *filter(None, map(self._nearly, kept))

    def _nearly(self, name: str) -> str | None:
        """What to do where a column is meant that is not among those taken, as one that is mistyped."""
        missing = {alias: meaning for meaning in ALIASES if meaning not in self.of for alias in ALIASES[meaning]}
        for close in get_close_matches(name.lower(), missing, 1, _NEARLY):
            meaning = missing[close]
            given = f"if it is the {meaning}, prepare again with 'columns={{{meaning}: {name}}}'"
            return f"warning: column {name} is not read as {meaning}; {given}"
        return None


def columns_line(there: Iterable[str]) -> str:
    """`columns are a, b, c` for messages."""
    return f"columns are {', '.join(map(str, there)) or 'none'}"
