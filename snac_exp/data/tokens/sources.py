"""The data sources of token models: `npq`, a folder of token files, and `code_cache_tokens`, a SNAC code cache."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from snac_exp.data.mixture.streams import Streams
from snac_exp.data.rejection import Rejection
from snac_exp.data.slices.cached_codes import open_table
from snac_exp.data.tokens.batch import TokenWindows
from snac_exp.data.tokens.codecs import described, same_frames
from snac_exp.data.tokens.files import CachedTokens, Int64Array, NpqFiles, TokenSource, is_npq
from snac_exp.data.tokens.windows import WindowIndex, WindowSpec, split_files, validation_windows
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.frames import FrameLayout
from snac_exp.system.remote.folders import local_folder

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec


@dataclass(frozen=True)
class TokenSplits:
    """What a token model trains and validates on.

    step_ratio: from one training window to the next, as a share of the window. max_validation_windows: null = all.
    rejected: files that could not be used, with the reason. sources: of a mixture the splits of every source by name,
    in the order in which their files follow each other. streams_of: which training windows of an index an epoch holds;
    None: each once.
    """

    train: TokenWindows
    validation: TokenWindows
    rejected: tuple[Rejection, ...]
    step_ratio: float
    max_validation_windows: int | None
    sources: "Mapping[str, TokenSplits]" = field(default_factory=dict)
    streams_of: Callable[[WindowIndex], Streams] | None = None

    @property
    def layout(self) -> FrameLayout:
        """What the streams of a frame are."""
        return self.train.source.layout

    def train_index(self, num_frames: int) -> WindowIndex:
        """The training windows of `num_frames`; the step is rounded down to whole alignments."""
        alignment = self.layout.alignment
        step = max(int(num_frames * self.step_ratio) // alignment, 1) * alignment
        return self.train.index(num_frames, step)

    def validation_specs(self, num_frames: int, seed: int) -> list[WindowSpec]:
        """Windows that do not overlap, so that each token is scored once; the same whatever the curriculum does. Of a
        mixture those of every source."""
        if self.sources:
            return [spec for specs in self.validation_groups(num_frames, seed).values() for spec in specs]
        index = self.validation.index(num_frames, num_frames, pad_tail=True)
        return validation_windows(index, seed, self.max_validation_windows)

    def validation_groups(self, num_frames: int, seed: int) -> dict[str, list[WindowSpec]]:
        """The validation windows of every source by name; all of them, without a name, of what is no mixture."""
        if not self.sources:
            return {"": self.validation_specs(num_frames, seed)}
        groups, first = dict[str, list[WindowSpec]](), 0
        for name, splits in self.sources.items():
            specs = splits.validation_specs(num_frames, seed)
            groups[name] = [replace(spec, file=spec.file + first) for spec in specs]
            first += len(splits.train.source.lengths)
        return groups

    def streams(self, index: WindowIndex) -> Streams | None:
        """Which windows of an index over the training files an epoch holds; None: each once."""
        return None if self.streams_of is None else self.streams_of(index)


@dataclass(frozen=True)
class NpqTokens:
    """Options of the data source `npq`.

    directory: folder of .npq files, or its address in a store. val_list: text file naming the validation files; null =
    drawn by the seed so that `train_ratio` of the frames train. verify_tokens: read every token before training, else
    when it is first used.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"tokens"})

    directory: str
    val_list: str | None = None
    train_ratio: float = 0.95
    step_ratio: float = 0.5
    max_validation_windows: int | None = None
    verify_tokens: bool = True

    def open_tokens(self, codec: "LoadedCodec | None", seed: int) -> TokenSplits:
        """Open the folder; a SNAC codec must be the one that made the files, and then says what their streams are."""
        files = NpqFiles.open(local_folder(self.directory, is_npq, deep=True), self.verify_tokens)
        if codec is not None:
            files = files.as_layout(layout_of_codec(files.layout, codec, str(files.folder)))
        val_list = Path(self.val_list).expanduser() if self.val_list is not None else None
        train, validation = split_files(files.paths, files.lengths, self.train_ratio, seed, val_list)
        return _splits_of(files, train, validation, files.rejected, self.step_ratio, self.max_validation_windows)


@dataclass(frozen=True)
class CodeCacheTokens:
    """Options of the data source `code_cache_tokens`.

    cache_dir: what `snac-exp cache-codes` wrote, with the split of its manifest. frames: coarse (all tokens of a coarse
    token's time in one frame, 7 for snac_24khz) or repeated (a frame per finest token, slower codebooks repeated).
    """

    provides: ClassVar[frozenset[str]] = frozenset({"tokens"})

    cache_dir: str
    frames: Literal["coarse", "repeated"] = "coarse"
    step_ratio: float = 0.5
    max_validation_windows: int | None = None

    def open_tokens(self, codec: "LoadedCodec", seed: int) -> TokenSplits:
        """Open the cache; it must be of this codec."""
        if self.frames not in ("coarse", "repeated"):
            raise ConfigError(f"data.frames={self.frames} is not valid; choose one of: coarse, repeated")
        table = open_table(self.cache_dir, codec)
        rows = {split: table.rows_of(split) for split in ("train", "validation")}
        for split, found in rows.items():
            if len(found) == 0:
                raise DataError(f"{self.cache_dir}: no {split} rows; prepare the folder with another train_ratio")
        # One source for both splits, so that a window names its file in the whole cache.
        source = CachedTokens(table, np.arange(len(table)), self.frames)
        return _splits_of(source, rows["train"], rows["validation"], (), self.step_ratio, self.max_validation_windows)


def layout_of_codec(layout: FrameLayout, codec: "LoadedCodec", where: str) -> FrameLayout:
    """Which frames of a SNAC codec token files hold: coarse or repeated ones.

    A file says no more than how many entries each stream has. That several streams are of one codebook, or repeat its
    tokens, follows from the codec: only then is a repeated token scored once, and can frames be decoded.

    Raises:
        DataError: neither; says what they are.
    """
    geometry, size = codec.geometry, int(codec.model.codebook_size)
    coarse_rate = geometry.sampling_rate / geometry.coarse_hop
    for make in (FrameLayout.coarse, FrameLayout.repeated):
        expected = make(geometry.vq_strides, size, coarse_rate)
        # What a file can tell of such frames: sizes and rate, not which streams are of one codebook.
        as_in_a_file = FrameLayout.plain(expected.vocab_sizes, expected.frames_per_second)
        if same_frames(as_in_a_file, layout):
            return expected
    raise DataError(
        f"{where}: {described(layout)} are not of codec {codec.name}; choose the codec that made them (codec=NAME)"
    )


def _splits_of(
    source: TokenSource,
    train: Int64Array,
    validation: Int64Array,
    rejected: tuple[Rejection, ...],
    step_ratio: float,
    max_validation_windows: int | None,
) -> TokenSplits:
    """Splits of the files whose numbers `train` (n,) and `validation` (m,) hold; ConfigError for impossible options."""
    if not 0 < step_ratio <= 1:
        raise ConfigError(f"data.step_ratio={step_ratio} must lie between 0 and 1")
    if max_validation_windows is not None and max_validation_windows < 1:
        raise ConfigError(f"data.max_validation_windows={max_validation_windows} must be at least 1, or null for all")
    return TokenSplits(
        TokenWindows(source, train), TokenWindows(source, validation), rejected, step_ratio, max_validation_windows
    )
