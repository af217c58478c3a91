"""Tokens of a client, as they come and in whichever form, to codes of the codec; bounded."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from snac_exp.codec.geometry import Geometry
from snac_exp.errors import DataError
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.reader import IdReader
from snac_exp.lm.layouts.reading import Gap, Mode
from snac_exp.lm.layouts.streams import read_ids
from snac_exp.lm.layouts.text import ids_of_text
from snac_exp.release.service.bounds import Bounds
from snac_exp.release.service.messages import Tokens
from snac_exp.release.service.refusal import Kind, Refusal

_BEGUN = re.compile(r"<(?:c(?:u(?:s(?:t(?:o(?:m(?:_(?:t(?:o(?:k(?:e(?:n(?:_[0-9]{0,10})?)?)?)?)?)?)?)?)?)?)?)?)?\Z")
"""A `<custom_token_N>` whose rest is to come."""


class TokenReader:
    """Reads one stream. Its first tokens say in which form all of them come."""

    def __init__(self, layout: Layout, mode: Mode, bounds: Bounds) -> None:
        self._layout, self._mode, self._bounds = layout, mode, bounds
        self._form: str | None = None
        self._ids: IdReader | None = None
        self._text = ""
        self._num_tokens = 0
        self._lengths = [0] * layout.geometry.num_codebooks
        self.gaps: tuple[Gap, ...] = ()

    @property
    def num_frames(self) -> int:
        """Coarse tokens that all codebooks cover."""
        return _covered(self._lengths, self._layout.geometry)

    def read(self, tokens: Tokens) -> list[Tensor]:
        """Further tokens -> tokens[i] (n_i,) int64 for the decoder; of ids those of whole frames.

        Raises:
            Refusal: too many of them, or they do not belong where they stand; names position, place and value.
        """
        form = tokens.form
        if form is None:
            return self._nothing()
        if self._form not in (None, form):
            raise Refusal(Kind.BAD, f"{form} after {self._form}: a stream keeps to one form")
        self._form = form
        try:
            rows = self._codes(tokens.codes or []) if form == "codes" else self._read_ids(tokens)
        except DataError as error:
            raise Refusal(Kind.BAD, str(error)) from None
        return self._counted(rows)

    def finish(self) -> list[Tensor]:
        """The rest, as from `read`, once nothing comes any more; Refusal where the stream cannot end here."""
        if self._form in (None, "codes") or self._ids is None:
            return self._nothing()
        try:
            rest = self._ids.push(ids_of_text(self._text, self._layout)) if self._text else None
            reading = self._ids.finish()
        except DataError as error:
            raise Refusal(Kind.BAD, str(error)) from None
        self.gaps = reading.gaps
        return self._nothing() if rest is None else self._counted([torch.from_numpy(row) for row in rest])

    def _read_ids(self, tokens: Tokens) -> list[Tensor]:
        if tokens.ids and isinstance(tokens.ids[0], list):
            return self._streams(tokens.ids)
        self._ids = self._ids or IdReader(self._of_frames(), self._mode)
        if tokens.text is None:
            self._count(len(tokens.ids or ()))
            found = self._ids.push(tokens.ids or [])
        else:
            found = self._ids.push(self._ids_of(tokens.text))
        return [torch.from_numpy(row) for row in found]

    def _ids_of(self, text: str) -> Sequence[int]:
        """Ids of what is whole of a text; a token that is cut in two waits for its rest."""
        text = self._text + text
        cut = _BEGUN.search(text, max(0, len(text) - 30))
        whole, self._text = (text, "") if cut is None else (text[: cut.start()], text[cut.start() :])
        # Every token has this one letter; a stretch of other text is one token more at most.
        self._count(whole.count("<"), at_least=True)
        ids = ids_of_text(whole, self._layout).tolist()
        self._count(len(ids))
        return ids  # type: ignore[no-any-return]

    def _streams(self, ids: list[list[int]]) -> list[Tensor]:
        """Whole streams of a layout that has several, as one utterance."""
        self._count(sum(map(len, ids)))
        if self._num_tokens > sum(map(len, ids)):
            raise DataError(f"layout {self._layout.name} has several streams: send them whole, in one piece")
        reading = read_ids(ids, self._layout, self._mode)
        self.gaps = reading.gaps
        return [torch.from_numpy(row) for row in reading.codes]

    def _codes(self, codes: list[list[int]]) -> list[Tensor]:
        if len(codes) != len(self._lengths):
            raise DataError(f"{len(codes)} lists of codes, but the codec has {len(self._lengths)} codebooks")
        self._count(sum(map(len, codes)))
        size = self._layout.places[0].size
        rows = [torch.tensor(row, dtype=torch.int64) for row in codes]
        for codebook, row in enumerate(rows):
            wrong = ((row < 0) | (row >= size)).nonzero().flatten().tolist()
            if wrong:
                position = self._lengths[codebook] + wrong[0]
                raise DataError(
                    f"codebook {codebook}, position {position}: code {row[wrong[0]]} is none of 0 to {size - 1}"
                )
        return rows

    def _of_frames(self) -> Layout:
        if self._layout.arrangement != "frames":
            raise DataError(
                f"layout {self._layout.name} has {self._layout.num_streams} streams of ids; send a list for each"
            )
        return self._layout

    def _count(self, number: int, at_least: bool = False) -> None:
        """Tokens before they are looked at, so that a long list costs nothing more."""
        if self._num_tokens + number > self._bounds.max_tokens:
            raise Refusal(Kind.TOO_LARGE, f"more than service.max_tokens={self._bounds.max_tokens} tokens in a stream")
        self._num_tokens += 0 if at_least else number

    def _counted(self, rows: list[Tensor]) -> list[Tensor]:
        """The tokens rows[i] (T_i,) of codebook i as they are; Refusal where the stream would become too long."""
        self._lengths = [known + len(row) for known, row in zip(self._lengths, rows, strict=True)]
        longest = max(length / self._layout.geometry.codebook_length(i, 1) for i, length in enumerate(self._lengths))
        if longest * self._layout.seconds(1) > self._bounds.max_seconds:
            raise Refusal(Kind.TOO_LARGE, f"more than service.max_seconds={self._bounds.max_seconds:g} of audio")
        return rows

    def _nothing(self) -> list[Tensor]:
        return [torch.zeros(0, dtype=torch.int64) for _ in self._lengths]


def _covered(lengths: Sequence[int], geometry: Geometry) -> int:
    return min(length // geometry.codebook_length(i, 1) for i, length in enumerate(lengths))
