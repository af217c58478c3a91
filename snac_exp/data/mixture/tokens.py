"""The data source `mixture_tokens`: several code caches, or folders of token files, for one token model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from snac_exp.data.mixture.options import MixtureOptions
from snac_exp.data.mixture.streams import Streams
from snac_exp.data.tokens.batch import TokenWindows
from snac_exp.data.tokens.codecs import described, same_frames
from snac_exp.data.tokens.files import CachedTokens, TokenSource
from snac_exp.data.tokens.npq import TokenArray
from snac_exp.data.tokens.sources import CodeCacheTokens, NpqTokens, TokenSplits
from snac_exp.data.tokens.windows import WindowIndex
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.frames import FrameLayout

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class JoinedTokens:
    """Files of the first source, then of the second, and so on. firsts (sources + 1,): where each begins."""

    parts: tuple[TokenSource, ...]
    firsts: Int64Array
    lengths: Int64Array

    @classmethod
    def of(cls, parts: Sequence[TokenSource]) -> "JoinedTokens":
        """The sources joined; they must have the same frames."""
        lengths = [part.lengths for part in parts]
        return cls(tuple(parts), np.cumsum([0, *map(len, lengths)]), np.concatenate(lengths))

    @property
    def layout(self) -> FrameLayout:
        """What the streams of every frame are."""
        return self.parts[0].layout

    def part_of(self, file: int) -> tuple[TokenSource, int]:
        """The source of a file, and the file's number there."""
        number = int(np.searchsorted(self.firsts, file, side="right")) - 1
        return self.parts[number], file - int(self.firsts[number])

    def name(self, file: int) -> str:
        """Path of a file, relative to the folder of its source."""
        part, own = self.part_of(file)
        return part.name(own)

    def check(self) -> str:
        """As every source does."""
        return "; ".join(part.check() for part in self.parts)

    def read(self, file: int, start: int, num_frames: int) -> TokenArray:
        """Frames (num_frames, K) of a file."""
        part, own = self.part_of(file)
        return part.read(own, start, num_frames)


@dataclass(frozen=True, kw_only=True)
class TokenMixture(MixtureOptions):
    """Options of the data source `mixture_tokens`; each source has those of CodeCacheTokens, or of NpqTokens where it
    names a `directory`, but these, which are of all. Shares are of windows, hours of audio."""

    provides: ClassVar[frozenset[str]] = frozenset({"tokens"})

    step_ratio: float = 0.5
    max_validation_windows: int | None = None

    def open_tokens(self, codec: "LoadedCodec", seed: int) -> TokenSplits:
        """Open every source; all must have the same frames.

        Raises:
            ConfigError, DataError: a source that cannot be opened or has other frames, a weight that is not above 0;
                names it.
        """
        common = {"step_ratio": self.step_ratio, "max_validation_windows": self.max_validation_windows}
        opened: dict[str, TokenSplits] = self.opened(_kind_of, common, lambda source: source.open_tokens(codec, seed))
        _check_frames(opened)
        source = JoinedTokens.of([splits.train.source for splits in opened.values()])
        splits = TokenSplits(
            TokenWindows(source, _joined([item.train.files for item in opened.values()], source.firsts)),
            TokenWindows(source, _joined([item.validation.files for item in opened.values()], source.firsts)),
            tuple(item for splits in opened.values() for item in splits.rejected),
            self.step_ratio,
            self.max_validation_windows,
            opened,
            partial(self._streams, opened, seed),
        )
        splits.streams(splits.train_index(source.layout.alignment))  # shares that make no sense are told now
        return splits

    def _streams(self, opened: Mapping[str, TokenSplits], seed: int, index: WindowIndex) -> Streams:
        """Which windows of an index over the training files an epoch holds."""
        hours = [splits.train.num_seconds for splits in opened.values()]
        first, speakers = 0, list[Callable[[], Int64Array]]()
        for name, splits in opened.items():
            stop = first + len(splits.train.files)
            per_file = index.windows_per_file()[first:stop]
            speakers.append(partial(self._speakers, name, splits.train, per_file))
            first = stop
        return self.streams(hours, speakers, seed)

    def _speakers(self, name: str, windows: TokenWindows, per_file: Int64Array) -> Int64Array:
        """The speaker of every window (windows,) as a number; one for all where speakers do not matter."""
        if self.balance == "rows":
            return np.zeros(int(per_file.sum()), np.int64)
        source = windows.source
        if not isinstance(source, CachedTokens):
            raise ConfigError(
                f"data.sources.{name}: token files say no speaker; set data.balance=rows, or use caches alone"
            )
        numbers = source.table.speakers.take(source.rows[windows.files]).dictionary_encode().indices.to_numpy()
        return np.repeat(np.asarray(numbers, np.int64), per_file)


def _kind_of(options: Mapping[str, Any]) -> type[CodeCacheTokens] | type[NpqTokens]:
    return NpqTokens if "directory" in options else CodeCacheTokens


def _check_frames(opened: Mapping[str, TokenSplits]) -> None:
    (first, of_first), *others = opened.items()
    for name, splits in others:
        if not same_frames(splits.layout, of_first.layout):
            raise DataError(
                f"data.sources.{name} has {described(splits.layout)}, data.sources.{first} "
                f"{described(of_first.layout)}: sources must be of one codec and the same frames"
            )


def _joined(files: Sequence[Int64Array], firsts: Int64Array) -> Int64Array:
    return np.concatenate([own + first for own, first in zip(files, firsts[:-1], strict=True)])
