"""Ids as the text of speech models, `<custom_token_N>` with N = id - vocabulary, and back."""

import re

import numpy as np
import numpy.typing as npt

from snac_exp.errors import DataError
from snac_exp.lm.layouts.ids import Ids
from snac_exp.lm.layouts.layout import MAX_ID, Layout

OTHER_TEXT = -(2**40)
"""Stands for a stretch of text that is no `<custom_token_N>`; readers take it for text. No mask or label is so low."""
TOKEN_BEGINS = "<custom_token_"
_TOKEN = re.compile(r"<custom_token_(0|[1-9][0-9]{0,9})>|[^<\s]+|<")


def text_of_ids(ids: npt.ArrayLike, layout: Layout) -> str:
    """Ids (T,) of speech and specials as one text without spaces.

    Raises:
        DataError: an id of the text's own vocabulary, which only its tokenizer can write; names position and value.
    """
    numbers = np.asarray(ids, np.int64) - layout.vocabulary
    wrong = np.flatnonzero(numbers < 0)
    if len(wrong):
        value = numbers[wrong[0]] + layout.vocabulary
        raise DataError(
            f"position {wrong[0]}: id {value} is text for layout {layout.name} (below {layout.vocabulary}) and no "
            f"<custom_token_N>; have the text model's tokenizer write it"
        )
    return "".join(f"<custom_token_{number}>" for number in numbers.tolist())


def ids_of_text(text: str, layout: Layout) -> Ids:
    """Ids (T,) of a text; space counts for nothing, and a stretch of other text is one OTHER_TEXT.

    Nothing is judged here: what the ids are, and whether text may stand where it stands, the reader decides.
    """
    ids: list[int] = []
    for found in _TOKEN.finditer(text):
        value = OTHER_TEXT if found[1] is None else layout.vocabulary + int(found[1])
        # A number that no library takes for an id is a text that somebody wrote.
        value = value if value <= MAX_ID else OTHER_TEXT
        # `<` and words next to each other are one stretch.
        if value != OTHER_TEXT or ids[-1:] != [OTHER_TEXT]:
            ids.append(value)
    return np.array(ids, np.int64)
