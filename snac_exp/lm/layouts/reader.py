"""Reads an utterance out of one stream of ids that others wrote, in pieces of any length."""

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.ids import Ids, codes_of_frames
from snac_exp.lm.layouts.kinds import Kind, as_ids, described, kinds_of_ids
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.reading import Gap, Mode, Reading, gap_of

_PROMPT = (Kind.TEXT, Kind.END_OF_TEXT, Kind.TURN, Kind.PAD)
_ENDS = (Kind.END, Kind.END_OF_TEXT)


class IdReader:
    """Ids of the arrangement `frames` in, codes of whole frames out.

    Prompt (text, turns, pads), start of speech, codes, end, pads: each part may be missing, but they come in this
    order. `strict` refuses whatever else there is; `resync` drops it, up to the next whole frame, and lists it. Pads
    that follow the last code and text before speech are no mistake, within speech they are.
    """

    def __init__(self, layout: Layout, mode: Mode = "strict") -> None:
        if layout.arrangement != "frames":
            raise ConfigError(f"layout {layout.name} has {layout.num_streams} streams; read it with read_streams")
        if mode not in ("strict", "resync"):
            raise ConfigError(f"mode={mode} is not valid; choose one of: strict, resync")
        self.layout, self.mode = layout, mode
        self._position = 0  # in the whole stream, of the first id that waits
        self._ids: list[int] = []
        self._kinds: list[int] = []
        self._part = "prompt"  # then speech, pads (which may be the end), end
        self._frames: list[list[int]] = []
        self._firsts = [place.first for place in layout.places]
        self._pattern = list(range(layout.num_places))
        self._dropped: list[tuple[int, int, str]] = []  # position, kind, in words, of the gap that is open
        self._pads: list[tuple[int, int, str]] = []
        self._gaps: list[Gap] = []
        self._text_ids: list[int] = []
        self._started = self._ended = False

    def push(self, ids: npt.ArrayLike) -> list[Ids]:
        """Further ids (n,) -> codes[i] (T_i,) of the frames that became whole, all empty if none did.

        Raises:
            DataError: `strict`, and an id that does not belong where it stands; names position, place and value.
        """
        given = as_ids(ids)
        self._ids += given.tolist()
        self._kinds += kinds_of_ids(given, self.layout).tolist()
        return self._read(final=False)

    def finish(self) -> Reading:
        """End the stream: all that was read of it.

        Raises:
            DataError: `strict`, and the stream ends within a frame.
        """
        self._read(final=True)
        self._close_gap()
        codes = codes_of_frames(self._table(self._frames), self.layout)
        return Reading(self.layout, codes, tuple(self._gaps), tuple(self._text_ids), self._ended)

    def _read(self, final: bool) -> list[Ids]:
        before, i, width = len(self._frames), 0, self.layout.num_places
        while i < len(self._ids):
            if self._part in ("speech", "pads") and self._kinds[i] >= 0:
                found = self._kinds[i : i + width]
                if found == self._pattern:
                    self._take(i)
                    i += width
                    continue
                if not final and found == self._pattern[: len(found)]:
                    break  # the rest of the frame is to come
                self._misfit(i, found)
            else:
                # Only a place of the prompt may be read a second time, as speech.
                i -= self._other(i)
            i += 1
        self._ids, self._kinds = self._ids[i:], self._kinds[i:]
        self._position += i
        return codes_of_frames(self._table(self._frames[before:]), self.layout)

    def _take(self, i: int) -> None:
        """The whole frame that begins at i."""
        self._refuse_or_drop_pads()
        self._close_gap()
        values = self._ids[i : i + self.layout.num_places]
        self._frames.append([value - first for value, first in zip(values, self._firsts, strict=True)])

    def _misfit(self, i: int, found: list[int]) -> None:
        """A code at i that begins no whole frame."""
        self._refuse_or_drop_pads()
        if self.mode == "resync":
            return self._drop(i)
        wrong = next((j for j, kind in enumerate(found) if kind != j), len(found))
        if wrong == len(found):
            raise DataError(
                f"position {self._position + i + wrong}: the stream ends at place {wrong} of a frame of "
                f"{self.layout.num_places} (layout {self.layout.name}); mode=resync drops the frame"
            )
        self._refuse(i + wrong, f"a code of place {wrong}")

    def _other(self, i: int) -> bool:
        """An id at i that is no code of speech; whether it must be looked at again."""
        kind = self._kinds[i]
        if self._part == "prompt":
            return self._in_prompt(i, kind)
        if kind in _ENDS:
            self._part, self._ended, self._pads = "end", True, []
        elif kind == Kind.PAD and self._part == "end":
            pass
        elif kind == Kind.PAD and self.layout.specials is not None:
            self._part = "pads"
            self._pads.append(self._noted(i))
        elif self.mode == "strict":
            self._refuse(i, "nothing but pads" if self._part != "speech" else "a code of place 0, or the end")
        else:
            self._refuse_or_drop_pads()
            self._drop(i)
        return False

    def _in_prompt(self, i: int, kind: int) -> bool:
        """As `_other`, before speech."""
        if kind >= 0:
            self._part = "speech"
            return True
        if kind == Kind.START:
            self._part, self._started = "speech", True
        elif kind == Kind.END:
            self._part, self._ended = "end", True
        elif kind in _PROMPT:
            self._text_ids += [self._ids[i]] if kind == Kind.TEXT and self._ids[i] >= 0 else []
        elif self.mode == "strict":
            self._refuse(i, "text, a special token or a code of place 0")
        else:
            self._drop(i)
        return False

    def _refuse_or_drop_pads(self) -> None:
        """Pads after which speech goes on were no end."""
        if self._pads and self.mode == "strict":
            position, _, what = self._pads[0]
            raise DataError(self._message(position, what, "a code of place 0, since speech goes on behind it"))
        self._dropped += self._pads
        self._pads = []
        self._part = "speech" if self._part == "pads" else self._part

    def _drop(self, i: int) -> None:
        self._dropped.append(self._noted(i))

    def _noted(self, i: int) -> tuple[int, int, str]:
        return self._position + i, self._kinds[i], described(self._ids[i], self._kinds[i])

    def _close_gap(self) -> None:
        if self._dropped:
            position, _, first = self._dropped[0]
            kinds = [kind for _, kind, _ in self._dropped]
            self._gaps.append(gap_of(position, len(self._frames), kinds, first, self.layout))
            self._dropped = []

    def _refuse(self, i: int, wanted: str) -> NoReturn:
        raise DataError(self._message(*self._noted(i)[::2], wanted))

    def _message(self, position: int, what: str, wanted: str) -> str:
        return (
            f"position {position}: {what}, where layout {self.layout.name} on codec {self.layout.codec_name} wants "
            f"{wanted}; choose the layout and codec that wrote the stream, or mode=resync to drop what does not fit"
        )

    def _table(self, frames: list[list[int]]) -> Ids:
        return np.array(frames, np.int64).reshape(-1, self.layout.num_places)
