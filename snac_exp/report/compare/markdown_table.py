"""The place of a table in a Markdown file that people write."""

from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.system.files import write_text

OPENING, CLOSING = "<!-- compare: ", "<!-- /compare -->"


class Slot:
    """The place in a Markdown file between `<!-- compare: NAME -->` and `<!-- /compare -->`, which a table fills.

    Raises:
        ConfigError: there is no such file, no such place, or more than one.
    """

    def __init__(self, path: Path, name: str | None) -> None:
        self.path, self.name = path.expanduser().resolve(), name
        # Looked for before anything is compared: a missing place is refused at once.
        self._split()

    def fill(self, table: str) -> None:
        """Put a table there atomically; all else in the file stays as it is."""
        # Read again: somebody may have edited the file while the comparison was made.
        before, after = self._split()
        write_text(self.path, f"{before}\n\n{table}\n\n{after}")

    def _split(self) -> tuple[str, str]:
        """The file up to the opening marker, and from the closing one on."""
        if not self.path.is_file():
            raise ConfigError(f"update={self.path}: there is no such file; write it first, with {self._wanted()}")
        # As bytes, since text mode would turn line ends of Windows into others.
        text = self.path.read_bytes().decode("utf-8")
        opened = [f"{OPENING}{part.partition(' -->')[0]} -->" for part in text.split(OPENING)[1:]]
        mine = [line for line in opened if self.name is None or line == f"{OPENING}{self.name} -->"]
        if len(mine) != 1:
            found = f"it has {', '.join(opened)}" if opened else "it has no markers"
            raise ConfigError(f"update={self.path}: one place for the table is needed, and {found}; {self._wanted()}")
        before, marker, rest = text.partition(mine[0])
        inside, closing, after = rest.partition(CLOSING)
        # An opening marker inside means that the place before it was never closed.
        if not closing or OPENING in inside:
            raise ConfigError(f"update={self.path}: {mine[0]} is not closed; put {CLOSING} behind the table")
        return before + marker, closing + after

    def _wanted(self) -> str:
        name = self.name or "NAME"
        choose = "" if self.name else " (and choose among several with table=NAME)"
        return f"put the lines {OPENING}{name} --> and {CLOSING} where the table belongs{choose}"
