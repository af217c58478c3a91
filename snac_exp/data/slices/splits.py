"""What a data source opens for a codec run: training rows, validation rows and the slices that every validation scores.

A source is a class with `provides` and `open(codec, heads, seed) -> Splits`, named by `_target_` in a YAML of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from snac_exp.codec.geometry import decoder_context_tokens
from snac_exp.config.seeding import generator
from snac_exp.data.mixture.streams import Streams
from snac_exp.data.packed.names import local_pack
from snac_exp.data.slices.dataset import AlignedDataset
from snac_exp.data.slices.sampling import SliceSpec, validation_specs
from snac_exp.errors import DataError
from snac_exp.system.paths.kind import refuse_file

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """What a run trains and validates on. `validation_specs` are the same slices for the whole run.

    sources: of a mixture the splits of every source by name, in the order in which their rows follow each other.
    streams: which training rows an epoch holds; None: each once.
    """

    train: AlignedDataset
    validation: AlignedDataset
    validation_specs: list[SliceSpec]
    context_tokens: int
    sources: Mapping[str, "Splits"] = field(default_factory=dict)
    streams: Streams | None = None

    def by_source(self) -> "dict[str, Splits]":
        """The splits of every source by name; of what is no mixture itself, without a name."""
        return dict(self.sources) or {"": self}

    def validation_groups(self) -> dict[str, list[SliceSpec]]:
        """The validation slices of every source by name; all of them, without a name, of what is no mixture."""
        if not self.sources:
            return {"": self.validation_specs}
        groups: dict[str, list[SliceSpec]] = {name: [] for name in self.sources}
        firsts = np.cumsum([len(splits.validation) for splits in self.sources.values()])
        names = list(self.sources)
        for spec in self.validation_specs:
            groups[names[int(np.searchsorted(firsts, spec.row, side="right"))]].append(spec)
        return groups

    @classmethod
    def of(
        cls,
        train: AlignedDataset,
        validation: AlignedDataset,
        codec: "LoadedCodec",
        seed: int,
        *,
        context_tokens: int | None,
        seconds: float,
        num_slices: int,
    ) -> "Splits":
        """Both datasets, `num_slices` validation slices of `seconds` drawn by the seed.

        Raises:
            DataError: a row has no target, there is nothing to validate on, or context_tokens is negative.
        """
        # Now, in one pass: a target that is not there would otherwise end the run whenever its row comes.
        for dataset in (train, validation):
            dataset.check_targets()
        context, geometry = context_of(codec, context_tokens), codec.geometry
        num_tokens = geometry.coarse_tokens_in(seconds)
        specs = validation_specs(validation.coarse_lengths, geometry, seed, num_tokens, num_slices, context)
        return cls(train, validation, specs, context)


def context_of(codec: "LoadedCodec", context_tokens: int | None) -> int:
    """Coarse tokens of context: as the recipe says, or for None as many as the codec's decoder sees."""
    # Nearly half of a 1 s slice of snac_24khz lies so near its edges that without context it decodes differently.
    if context_tokens is None:
        return decoder_context_tokens(codec.config)
    if context_tokens < 0:
        raise DataError(f"data.context_tokens={context_tokens} must not be negative; 0 = none, null = all it sees")
    return context_tokens


def limited(rows: Int64Array, limit: int | None, seed: int) -> Int64Array:
    """At most `limit` of the row numbers (rows,), drawn by the seed; a smaller limit is a subset of a larger one."""
    if limit is None or limit >= len(rows):
        return rows
    if limit < 1:
        raise DataError(f"data.limit={limit} leaves no training rows; set it to at least 1, or null for all")
    chosen = generator(seed, "limit").permutation(len(rows))[:limit]
    return np.sort(rows[chosen])


def existing_folder(key: str, folder: str) -> Path:
    """The folder, or DataError naming the key that should say where it is; of an address, that of a packed folder."""
    path = local_pack(folder)
    refuse_file(path, f"the folder that {key} names", DataError)
    if not path.is_dir():
        raise DataError(f"{key}: no folder {path}; set {key} to where the files lie on this machine")
    return path
