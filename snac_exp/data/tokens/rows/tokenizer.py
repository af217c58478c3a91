"""The tokenizer of a text model, as far as its ids fit those of a layout."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.ids import Ids
from snac_exp.lm.layouts.kinds import as_ids
from snac_exp.lm.layouts.layout import Layout
from snac_exp.system.hub import hub_access, is_repo_id


class TextTokenizer:
    """Texts to ids that stand in the human's turn.

    Raises:
        ConfigError: transformers is not installed, there is no such tokenizer, or its ids and the layout's contradict
            each other: names the id and both.
    """

    def __init__(self, name: str, layout: Layout) -> None:
        if layout.specials is None or layout.end_of_text is None:
            raise ConfigError(
                f"tokenizer={name}: layout {layout.name} has no specials and no text; choose layout=orpheus or one "
                "like it, or leave the tokenizer out"
            )
        self.name, self.layout = name, layout
        self._tokenizer = _opened(name)
        _check(self._tokenizer, name, layout)
        self._ends = self._encoded("")[-1:] == [layout.end_of_text]

    def ids(self, text: str, path: str) -> Ids:
        """Ids (T,) of a text with what its tokenizer begins it with, without the end that the layout adds.

        Raises:
            DataError: a special token is written out in it; names `path`, the utterance.
        """
        ids = self._encoded(text)
        ids = ids[:-1] if self._ends else ids
        wrong = [item for item in ids if item >= self.layout.vocabulary or item == self.layout.end_of_text]
        if wrong:
            raise DataError(
                f"texts: the text of {path} contains id {wrong[0]}, {self._tokenizer.convert_ids_to_tokens(wrong[0])}, "
                f"which ends texts or is speech for layout {self.layout.name}; take it out of the text"
            )
        return as_ids(ids)

    def _encoded(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])


def _opened(name: str) -> Any:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(
            f"tokenizer={name} needs the transformers library: pip install 'snac_exp[llm]', or leave the tokenizer out"
        ) from error
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _in_folder(transformers, folder, name)
    if "/" in name and not is_repo_id(name):
        raise ConfigError(f"tokenizer={name}: there is no such folder, and it is no hub id OWNER/NAME")
    with hub_access(name, "a tokenizer", mend="set tokenizer=DIR", error=ConfigError):
        return transformers.AutoTokenizer.from_pretrained(name)


def _in_folder(transformers: Any, folder: Path, name: str) -> Any:
    """The tokenizer of a folder; no hub is asked."""
    try:
        return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    # A damaged tokenizer.json is a bare Exception of the tokenizers library.
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(": ")
        raise ConfigError(
            f"tokenizer={name}: the folder holds no tokenizer that transformers opens ({why}); save that of the text "
            "model there (tokenizer.json, tokenizer_config.json)"
        ) from error


def _check(tokenizer: Any, name: str, layout: Layout) -> None:
    """Ids of the layout must be what the tokenizer takes them for, or unknown to it."""
    size, end, known = len(tokenizer), layout.end_of_text, tokenizer.get_vocab()
    added: Mapping[int, Any] = tokenizer.added_tokens_decoder
    assert end is not None
    special = end in tokenizer.all_special_ids or (end in added and added[end].special)
    if not special:
        what = repr(tokenizer.convert_ids_to_tokens(end)) if end < size else "nothing"
        raise ConfigError(
            f"tokenizer={name}: id {end}, which ends texts in layout {layout.name}, is {what} there and no special "
            "token; choose the layout of this text model, or set layout.vocabulary and layout.end_of_text"
        )
    for number in _numbers(layout):
        token, wanted = f"<custom_token_{number}>", layout.vocabulary + number
        found = known.get(token)
        if found is not None and found != wanted:
            raise ConfigError(
                f"tokenizer={name}: {token} has id {found}, in layout {layout.name} {wanted}; choose the layout of "
                f"this text model, or set layout.vocabulary={found - number}"
            )
        if found is None and wanted < size:
            raise ConfigError(
                f"tokenizer={name}: id {wanted}, {token} in layout {layout.name}, is "
                f"{tokenizer.convert_ids_to_tokens(wanted)!r} there; set layout.vocabulary to at least {size}"
            )


def _numbers(layout: Layout) -> list[int]:
    """N of the ends of all that the layout puts behind the text's vocabulary."""
    assert layout.specials is not None
    speech = [end for place in layout.places for end in (place.first, place.first + place.size - 1)]
    return [item - layout.vocabulary for item in (*vars(layout.specials).values(), *speech)]
