"""The data source `cached_codes`: a folder of speech whose SNAC codes lie in a cache beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snac_exp.codec.geometry import decoder_context_tokens
from snac_exp.config.seeding import generator
from snac_exp.data.codes.first_generation import is_first_generation
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.slices.dataset import AlignedDataset, AudioFolders, SliceDataset
from snac_exp.data.slices.sampling import SliceSpec, validation_specs
from snac_exp.errors import DataError

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

__all__ = ["AlignedDataset", "CachedCodes", "CodeTable", "SliceDataset", "Splits"]


@dataclass(frozen=True)
class Splits:
    """What a run trains and validates on. `validation_specs` are the same slices for the whole run."""

    train: AlignedDataset
    validation: AlignedDataset
    validation_specs: list[SliceSpec]
    context_tokens: int


@dataclass(frozen=True)
class CachedCodes:
    """Options of the data source.

    cache_dir: what `snac-exp cache-codes` wrote. target_dir: targets of heads whose rate is not the codec's, under the
    same relative paths; null = the source files. audio_root: where the source files lie now; null = where they lay
    when the cache was made. limit: at most so many training rows, drawn by the seed (a smaller limit is a subset of a
    larger one). context_tokens: coarse tokens decoded on either side of a
    scored slice; None = as many as the decoder sees.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"codes", "audio"})

    cache_dir: str
    target_dir: str | None = None
    audio_root: str | None = None
    limit: int | None = None
    context_tokens: int | None = 0
    validation_seconds: float = 4.0
    validation_slices: int = 64

    def open(self, codec: "LoadedCodec", heads: dict[str, int], seed: int) -> Splits:
        """Open the cache for a codec and heads (name -> rate in Hz).

        Raises DataError if the cache is absent, incomplete or of another codec, or if audio or targets are missing.
        """
        cache_dir = Path(self.cache_dir).expanduser()
        table = open_table(cache_dir, codec)
        folders = AudioFolders(
            source=existing_folder("data.audio_root", self.audio_root or table.identity.audio_root),
            targets=existing_folder("data.target_dir", self.target_dir) if self.target_dir else None,
        )
        rows = {split: table.rows_of(split) for split in ("train", "validation")}
        rows["train"] = limited(rows["train"], self.limit, seed)
        for split, found in rows.items():
            if len(found) == 0:
                raise DataError(
                    f"{cache_dir}: no {split} rows; prepare the folder with another split and cache it again"
                )
        datasets = {split: SliceDataset(table, found, codec.geometry, heads, folders) for split, found in rows.items()}
        for dataset in datasets.values():
            dataset.check_targets()
        context = context_of(codec, self.context_tokens)
        num_tokens = codec.geometry.coarse_tokens_in(self.validation_seconds)
        lengths = datasets["validation"].coarse_lengths
        specs = validation_specs(lengths, codec.geometry, seed, num_tokens, self.validation_slices, context)
        return Splits(datasets["train"], datasets["validation"], specs, context)


def context_of(codec: "LoadedCodec", context_tokens: int | None) -> int:
    """Coarse tokens of context: as the recipe says, or for None as many as the codec's decoder sees."""
    if context_tokens is None:
        return decoder_context_tokens(codec.config)
    if context_tokens < 0:
        raise DataError(f"data.context_tokens={context_tokens} must not be negative; 0 = none, null = all it sees")
    return context_tokens


def open_table(cache_dir: Path, codec: "LoadedCodec") -> CodeTable:
    """The codes of a cache, if this codec made them; DataError names the codec of each, and the command that caches."""
    command = f"snac-exp cache-codes data=PREPARED_FOLDER output={cache_dir} codec={codec.name}"
    if cache_dir.is_dir() and is_first_generation(cache_dir):
        raise DataError(
            f"{cache_dir}: a first-generation cache; rewrite it once with: snac-exp cache-codes upgrade={cache_dir} "
            f"audio=FOLDER output=NEW_FOLDER codec={codec.name}, then set data.cache_dir=NEW_FOLDER"
        )
    if not cache_dir.is_dir() or not any(cache_dir.glob("codes-*.parquet")):
        raise DataError(f"{cache_dir}: no code cache there; make one with: {command}")
    table = CodeTable.open(cache_dir)
    identity = table.identity
    if identity.codec_fingerprint != codec.fingerprint:
        raise DataError(
            f"{cache_dir}: the codes are of {identity.codec_name} (fingerprint {identity.codec_fingerprint[:12]}),"
            f" the recipe's codec is {codec.name} (fingerprint {codec.fingerprint[:12]});"
            f" choose that codec, or cache in another folder: {command}"
        )
    if identity.geometry != codec.geometry:
        raise DataError(
            f"{cache_dir}: the codes have {identity.geometry}, the codec {codec.geometry}; cache again: {command}"
        )
    return table


def limited(rows: "np.typing.NDArray[np.int64]", limit: int | None, seed: int) -> "np.typing.NDArray[np.int64]":
    """At most `limit` of the rows, drawn by the seed; a smaller limit is a subset of a larger one."""
    if limit is None or limit >= len(rows):
        return rows
    if limit < 1:
        raise DataError(f"data.limit={limit} leaves no training rows; set it to at least 1, or null for all")
    chosen = generator(seed, "limit").permutation(len(rows))[:limit]
    return np.sort(rows[chosen])


def existing_folder(key: str, folder: str) -> Path:
    """The folder, or DataError naming the key that should say where it is."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise DataError(f"{key}: no folder {path}; set {key} to where the files lie on this machine")
    return path
