"""The utterances of a cache as they should stand in the rows of a layout: which frames, which text, how long."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snac_exp.data.codes.table import CodeTable
from snac_exp.data.rejection import Rejection
from snac_exp.data.tokens.rows.files import TokenRow
from snac_exp.data.tokens.rows.options import ExportOptions
from snac_exp.data.tokens.rows.tokenizer import TextTokenizer
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.ids import Ids, codes_of_frames, frames_of_codes, ids_of_codes
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.sequence import spoken_ids, training_ids


@dataclass(frozen=True)
class Piece:
    """One row of an export: the frames [start, end) of those that are kept of a row of the cache.

    whole: they are all of them. part: its number among the pieces of its utterance.
    """

    row: int
    start: int
    end: int
    part: int
    whole: bool


class Utterances:
    """What each row must hold, by the cache.

    texts: path -> what is said, None where nobody knows; None = there are none.

    Raises:
        ConfigError: options that contradict each other or the codec.
        DataError: an utterance without a text.
    """

    def __init__(
        self, table: CodeTable, layout: Layout, options: ExportOptions, texts: Mapping[str, str | None] | None
    ) -> None:
        self.table, self.layout, self.options, self.texts = table, layout, options, texts
        self._check()
        self.tokenizer = None if options.tokenizer is None else TextTokenizer(options.tokenizer, layout)

    def pieces(self, row: int) -> list[Piece] | Rejection:
        """The rows that an utterance becomes, or why it becomes none."""
        limit, num = self.options.max_tokens, int(self.kept(row).sum())
        around = len(self._ids(row, np.zeros(0, np.int64)))
        if limit is None or around + num * self.layout.num_places <= limit:
            return [Piece(row, 0, num, 0, True)]
        step = self.layout.geometry.coarse_step
        most = max(limit - around, 0) // self.layout.num_places // step * step
        if self.options.too_long == "split" and most:
            starts = range(0, num, most)
            return [Piece(row, start, min(start + most, num), part, False) for part, start in enumerate(starts)]
        return Rejection(self.table.path(row), "too_long", f"{self.length(row)} ids are more than max_tokens={limit}")

    def length(self, row: int) -> int:
        """Ids of an utterance as one row."""
        return len(self._ids(row, np.zeros(0, np.int64))) + int(self.kept(row).sum()) * self.layout.num_places

    def kept(self, row: int) -> npt.NDArray[np.bool_]:
        """Which coarse frames (n,) of an utterance are not left out as repeated."""
        coarse = self.table.codes(row, 0)
        if not self.options.drop_repeated_frames:
            return np.ones(len(coarse), np.bool_)
        kept = np.ones(len(coarse), np.bool_)
        kept[1:] = coarse[1:] != coarse[:-1]
        return kept

    def codes(self, piece: Piece) -> list[Ids]:
        """Codes[i] (T_i,) that the row must hold."""
        whole = [self.table.codes(piece.row, codebook) for codebook in range(self.layout.geometry.num_codebooks)]
        frames = frames_of_codes(whole, self.layout)[self.kept(piece.row)]
        return codes_of_frames(frames[piece.start : piece.end], self.layout)

    def num_samples(self, piece: Piece) -> int:
        """True length of a piece at the codec's rate: its frames, but what the last one has beyond the end."""
        hop, kept = self.layout.geometry.coarse_hop, self.kept(piece.row)
        beyond = len(kept) * hop - int(self.table.num_samples[piece.row])
        at_end = piece.end == int(kept.sum()) and bool(kept[-1:].all())
        return (piece.end - piece.start) * hop - (beyond if at_end else 0)

    def token_row(self, piece: Piece) -> TokenRow:
        """The row of a piece."""
        ids = self._ids(piece.row, ids_of_codes(self.codes(piece), self.layout)[0]).tolist()
        return TokenRow(
            input_ids=ids,
            labels=ids,
            attention_mask=[1] * len(ids),
            text=self.prompt(piece.row),
            speaker=self.table.speaker(piece.row),
            seconds=self.num_samples(piece) / self.table.spec.sampling_rate,
            path=self.path(piece),
        )

    def path(self, piece: Piece) -> str:
        """Of the source; that of a part has its number before the suffix, so that no two rows have the same."""
        path = self.table.path(piece.row)
        if piece.whole:
            return path
        folder, slash, name = path.rpartition("/")
        stem, dot, suffix = name.rpartition(".")
        return f"{folder}{slash}{stem or suffix}.part{piece.part:03d}{dot if stem else ''}{suffix if stem else ''}"

    def prompt(self, row: int) -> str | None:
        """What the text model reads before an utterance."""
        text = None if self.texts is None else self.texts[self.table.path(row)]
        return None if text is None else self.options.prompted(text, self.table.speaker(row))

    def _ids(self, row: int, speech: Ids) -> Ids:
        """Ids of speech with all that stands around them."""
        if self.tokenizer is None:
            return spoken_ids(speech, self.layout)
        text = self.prompt(row)
        assert text is not None
        return training_ids(self.tokenizer.ids(text, self.table.path(row)), speech, self.layout)

    def _check(self) -> None:
        options, spec = self.options, self.table.spec
        if self.texts is None and (options.tokenizer is not None or options.prompt != ExportOptions.prompt):
            key = "prompt" if options.tokenizer is None else "tokenizer"
            raise ConfigError(
                f"{key} needs texts, and the cache keeps none; set texts=FILE.jsonl with path and text in each line"
            )
        if self.texts is not None and options.max_tokens is not None and options.too_long == "split":
            raise ConfigError(
                "too_long=split cuts speech, and nothing says where its text would be cut; set too_long=drop, or "
                "texts=none"
            )
        if options.drop_repeated_frames and spec.geometry.coarse_step > 1:
            raise ConfigError(
                f"drop_repeated_frames=true: codec {spec.codec_name} decodes {spec.geometry.coarse_step} frames at a "
                "time, and what is left would be no multiple of them; set it to false"
            )
        lacking = [path for path in map(self.table.path, range(len(self.table))) if self._lacks_text(path)]
        if lacking:
            raise DataError(
                f"texts: {len(lacking)} of {len(self.table)} utterances have none, like {lacking[0]}; add their lines"
            )

    def _lacks_text(self, path: str) -> bool:
        """A list must name every utterance; a cache may have some without a text, which no tokenizer can write."""
        texts = self.texts
        return texts is not None and (path not in texts or (texts[path] is None and self.options.tokenizer is not None))
