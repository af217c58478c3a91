"""The data sources `mixture` and `mixture_folders`: several code caches, or prepared folders of raw audio."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snac_exp.data.mixture.joined_slices import JoinedDataset
from snac_exp.data.mixture.options import MixtureOptions
from snac_exp.data.slices.audio_folder import AudioFolder
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.slices.dataset import AlignedDataset
from snac_exp.data.slices.sampling import SliceSpec, place
from snac_exp.data.slices.splits import Splits

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class CodeMixture(MixtureOptions):
    """Options of the data source `mixture`; each source has those of CachedCodes but these, which are of all.

    validation_slices: of every source. Validation takes all sources alike, whatever their weights.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"codes", "audio"})
    kind: ClassVar[type[CachedCodes] | type[AudioFolder]] = CachedCodes

    context_tokens: int | None = 0
    validation_seconds: float = 4.0
    validation_slices: int = 64

    def open(self, codec: "LoadedCodec", heads: dict[str, int], seed: int) -> Splits:
        """Open every source for a codec and heads (name -> rate in Hz), and look at an item of each.

        Raises:
            ConfigError, DataError: a source that cannot be opened or read, is empty or of another codec, or a weight
                that is not above 0; names it.
        """
        names = ("context_tokens", "validation_seconds", "validation_slices")
        common = {name: getattr(self, name) for name in names}
        opened = self.opened(lambda _: self.kind, common, lambda source: _opened(source, codec, heads, seed))
        rate = codec.geometry.sampling_rate
        trained = [splits.train for splits in opened.values()]
        hours = [float(part.num_samples.sum()) / rate / SECONDS_PER_HOUR for part in trained]
        return Splits(
            JoinedDataset(trained),
            JoinedDataset([splits.validation for splits in opened.values()]),
            list(_by_turns(opened)),
            next(iter(opened.values())).context_tokens,
            opened,
            self.streams(hours, [part.speaker_numbers for part in trained], seed),
        )


@dataclass(frozen=True, kw_only=True)
class FolderMixture(CodeMixture):
    """Options of the data source `mixture_folders`, as CodeMixture; each source has those of AudioFolder."""

    provides: ClassVar[frozenset[str]] = frozenset({"audio"})
    kind: ClassVar[type[CachedCodes] | type[AudioFolder]] = AudioFolder


def _opened(source: CachedCodes | AudioFolder, codec: "LoadedCodec", heads: dict[str, int], seed: int) -> Splits:
    """A source, whose first rows can be read for every head: one of another rate would end the run in its middle."""
    splits = source.open(codec, heads, seed)
    for dataset in (splits.train, splits.validation):
        dataset[_first_slice(dataset, splits.validation_specs[0])]
    return splits


def _first_slice(dataset: AlignedDataset, like: SliceSpec) -> SliceSpec:
    context = (like.window_tokens - like.num_tokens) // 2
    return place(0, 0, int(dataset.coarse_lengths[0]), like.num_tokens, context, dataset.geometry)


def _by_turns(opened: Mapping[str, Splits]) -> Iterator[SliceSpec]:
    """The validation slices of all sources by turns, so that the first of them are of every source."""
    firsts = np.cumsum([0, *(len(splits.validation) for splits in opened.values())]).tolist()
    shifted = [
        [replace(spec, row=spec.row + first) for spec in splits.validation_specs]
        for first, splits in zip(firsts[:-1], opened.values(), strict=True)
    ]
    for turn in zip_longest(*shifted):
        yield from (spec for spec in turn if spec is not None)
