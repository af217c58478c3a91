"""What a speech language model is trained on and asked: text, then speech, with the specials between them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from snac_exp.errors import ConfigError
from snac_exp.lm.layouts.ids import Ids
from snac_exp.lm.layouts.kinds import as_ids
from snac_exp.lm.layouts.layout import Layout


def prompt_ids(text_ids: npt.ArrayLike, layout: Layout) -> Ids:
    """Ids of a text (T,) of the text model's tokenizer, up to where speech begins.

    Raises:
        ConfigError: the layout has no specials.
    """
    special = layout.specials
    if special is None or layout.end_of_text is None:
        raise ConfigError(f"layout {layout.name} has no specials and no text; choose layout=orpheus or one like it")
    end = (layout.end_of_text, special.end_of_human, special.start_of_ai, special.start_of_speech)
    return _joined([special.start_of_human], as_ids(text_ids), end)


def training_ids(text_ids: npt.ArrayLike, speech_ids: npt.ArrayLike, layout: Layout) -> Ids:
    """Text (T,) and the ids of its codes (S,) as one sequence (T + S + 7,); errors as `prompt_ids`."""
    prompt = prompt_ids(text_ids, layout)
    assert layout.specials is not None
    end = (layout.specials.end_of_speech, layout.specials.end_of_ai)
    return _joined(prompt, as_ids(speech_ids), end)


def spoken_ids(speech_ids: npt.ArrayLike, layout: Layout) -> Ids:
    """The ids of codes (S,) as the AI's turn (S + 4,), or as they are where a layout has no specials.

    The human's turn, whose text only the text model's tokenizer knows, and this make what `training_ids` gives.
    """
    special = layout.specials
    if special is None:
        return as_ids(speech_ids)
    start = [special.start_of_ai, special.start_of_speech]
    return _joined(start, as_ids(speech_ids), [special.end_of_speech, special.end_of_ai])


def next_ids(num_spoken: int, layout: Layout) -> list[int]:
    """The ids that may follow so many ids of speech: codes of the next place, before a frame also the end of speech.

    A model that chooses among these alone makes no stream that a reader refuses.
    """
    number = num_spoken % layout.num_places
    place, special = layout.places[number], layout.specials
    end = [special.end_of_speech] if special is not None and not number else []
    return [*range(place.first, place.first + place.size), *end]


def _joined(*parts: Sequence[int] | Ids) -> Ids:
    return np.concatenate([np.asarray(part, np.int64) for part in parts])
