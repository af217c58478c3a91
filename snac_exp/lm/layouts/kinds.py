"""What each id of a stream is: a place of the frame, or one of the kinds below."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from snac_exp.errors import DataError
from snac_exp.lm.layouts.ids import Ids
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.text import OTHER_TEXT


class Kind(IntEnum):
    """What an id is that is no code; codes are their place, from 0."""

    TEXT = -1
    PAD = -2
    START = -3  # of speech
    END = -4  # of speech, or of the AI's turn
    TURN = -5  # start and end of the human's turn, start of the AI's
    END_OF_TEXT = -6
    UNKNOWN = -7


NAMES = {
    Kind.TEXT: "text",
    Kind.PAD: "a pad",
    Kind.START: "the start of speech",
    Kind.END: "the end of speech or of the turn",
    Kind.TURN: "the start or end of a turn",
    Kind.END_OF_TEXT: "the end of a text",
    Kind.UNKNOWN: "none of this layout's",
}


def kinds_of_ids(ids: Ids, layout: Layout) -> Ids:
    """Place or kind (T,) of each id (T,) of a stream of `frames`."""
    kinds: Ids = np.where(ids < layout.vocabulary, Kind.TEXT, Kind.UNKNOWN).astype(np.int64)
    # Below zero are masks and labels that strayed into the ids, as -100, and no text.
    kinds[ids < 0] = Kind.UNKNOWN
    kinds[ids == OTHER_TEXT] = Kind.TEXT
    if layout.end_of_text is not None:
        kinds[ids == layout.end_of_text] = Kind.END_OF_TEXT
    for value, kind in _specials(layout).items():
        kinds[ids == value] = kind
    for number, place in enumerate(layout.places):
        kinds[(ids >= place.first) & (ids < place.first + place.size)] = number
    return kinds


def described(value: int, kind: int) -> str:
    """`id 7, a pad`, for messages."""
    if kind >= 0:
        return f"id {value}, a code of place {kind}"
    return f"{'no token' if value == OTHER_TEXT else f'id {value}'}, {NAMES[Kind(kind)]}"


def as_ids(ids: npt.ArrayLike) -> Ids:
    """Any whole numbers (T,) as ids; an empty list too."""
    values = np.asarray(ids)
    if values.ndim != 1 or (len(values) and not np.issubdtype(values.dtype, np.integer)):
        raise DataError(f"ids must be whole numbers (T,), not {values.dtype} {list(values.shape)}")
    if values.dtype == np.uint64 and len(values) and values.max() >= 2**63:
        raise DataError(f"id {values.max()} is larger than any id; choose the file that holds ids")
    return values.astype(np.int64)


def _specials(layout: Layout) -> dict[int, Kind]:
    if layout.specials is None:
        return {}
    special = layout.specials
    return {
        special.start_of_speech: Kind.START,
        special.end_of_speech: Kind.END,
        special.end_of_ai: Kind.END,
        special.pad: Kind.PAD,
        special.start_of_human: Kind.TURN,
        special.end_of_human: Kind.TURN,
        special.start_of_ai: Kind.TURN,
    }
