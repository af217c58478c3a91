"""What may be a tag, and what a note."""

import unicodedata

from snac_exp.errors import ConfigError

MOST_TAG_CHARACTERS = 64  # as W&B takes
MOST_NOTE_CHARACTERS = 2000
_SIGNS = "-_.:+"  # beside letters and digits; no space, no sign of the command line's grammar, none of a path


def composed(text: str) -> str:
    """In Unicode's composed form (NFC), in which what looks the same is the same."""
    return unicodedata.normalize("NFC", text)


def checked_tag(text: str) -> str:
    """A tag in composed form.

    Raises:
        ConfigError: it is empty, too long, or holds what a tag may not hold.
    """
    tag = composed(text)
    wrong = sorted({character for character in tag if not (_is_letter(character) or character in _SIGNS)})
    if wrong:
        raise ConfigError(
            f"tag {_short(tag)} holds {' '.join(map(repr, wrong))}; a tag has letters, digits and {' '.join(_SIGNS)}; "
            "folders of runs stand before the tags"
        )
    if not 1 <= len(tag) <= MOST_TAG_CHARACTERS:
        raise ConfigError(f"tag {_short(tag)} has {len(tag)} characters; a tag has 1 to {MOST_TAG_CHARACTERS}")
    if not _is_letter(tag[0]):
        raise ConfigError(f"tag {tag!r} begins with {tag[0]!r}; a tag begins with a letter or a digit")
    return tag


def checked_note(text: str) -> str:
    """A note without spaces at its ends; it may have several lines.

    Raises:
        ConfigError: it is empty, too long, or holds characters that control a terminal or the direction of text.
    """
    note = composed(text).strip()
    if not 1 <= len(note) <= MOST_NOTE_CHARACTERS:
        raise ConfigError(f"note {_short(note)} has {len(note)} characters; a note has 1 to {MOST_NOTE_CHARACTERS}")
    wrong = sorted({character for character in note if _controls(character)})
    if wrong:
        raise ConfigError(f"note {_short(note)} holds {' '.join(map(ascii, wrong))}, which is no text; leave it out")
    return note


def _is_letter(character: str) -> bool:
    """A letter, a mark on one, or a digit, of any script."""
    return unicodedata.category(character)[0] in "LMN"


def _controls(character: str) -> bool:
    """Controls, surrogates (bytes that are no UTF-8), and signs that turn the direction of text around."""
    turns = unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return turns or (unicodedata.category(character) in ("Cc", "Cs") and character != "\n")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
