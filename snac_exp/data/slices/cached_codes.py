"""The data source `cached_codes`: a folder of speech whose SNAC codes lie in a cache beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from snac_exp.data.codes.first_generation import is_first_generation
from snac_exp.data.codes.shards import SHARD_NAME
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.prepared.manifest import MANIFEST_NAME
from snac_exp.data.slices.dataset import AudioFolders, SliceDataset
from snac_exp.data.slices.splits import Splits, existing_folder, limited
from snac_exp.errors import DataError
from snac_exp.system.paths.kind import refuse_file
from snac_exp.system.remote.folders import local_folder

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec


@dataclass(frozen=True)
class CachedCodes:
    """Options of the data source.

    cache_dir: what `snac-exp cache-codes` wrote, or its address in a store. target_dir: targets of heads whose rate is
    not the codec's, under the same relative paths; null = the source files. target_delay_seconds: constant delay of
    these targets behind their sources, taken back wherever they are read. audio_root: where the source files lie now;
    null = where they lay when the cache was made. limit: at most so many training rows, drawn by the seed (a smaller
    limit is a subset of a larger one). context_tokens: coarse tokens decoded on either side of a scored slice; None =
    as many as the decoder sees.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"codes", "audio"})

    cache_dir: str
    target_dir: str | None = None
    target_delay_seconds: float = 0.0
    audio_root: str | None = None
    limit: int | None = None
    context_tokens: int | None = 0
    validation_seconds: float = 4.0
    validation_slices: int = 64

    def open(self, codec: "LoadedCodec", heads: dict[str, int], seed: int) -> Splits:
        """Open the cache for a codec and heads (name -> rate in Hz).

        Raises DataError if the cache is absent, incomplete or of another codec, or if audio or targets are missing.
        """
        table = open_table(self.cache_dir, codec)
        folders = AudioFolders(
            source=existing_folder("data.audio_root", self.audio_root or table.spec.audio_root),
            targets=existing_folder("data.target_dir", self.target_dir) if self.target_dir else None,
            target_delay_seconds=self.target_delay_seconds,
        )
        rows = {split: table.rows_of(split) for split in ("train", "validation")}
        # Training rows alone: runs with different limits validate on the same utterances.
        rows["train"] = limited(rows["train"], self.limit, seed)
        for split, found in rows.items():
            if len(found) == 0:
                raise DataError(
                    f"{self.cache_dir}: no {split} rows; prepare the folder with another split and cache it again"
                )
        datasets = {split: SliceDataset(table, found, codec.geometry, heads, folders) for split, found in rows.items()}
        return Splits.of(
            datasets["train"],
            datasets["validation"],
            codec,
            seed,
            context_tokens=self.context_tokens,
            seconds=self.validation_seconds,
            num_slices=self.validation_slices,
        )


def open_table(folder: Path | str, codec: "LoadedCodec") -> CodeTable:
    """The codes of a cache, if this codec made them; DataError names the codec of each, and the command that caches.

    folder: of the cache, or its address in a store, whose shards are then brought to this machine.
    """
    cache_dir = local_folder(str(folder), lambda name: SHARD_NAME.fullmatch(name) is not None)
    command = f"snac-exp cache-codes data=PREPARED_FOLDER output={cache_dir} codec={codec.name}"
    refuse_file(cache_dir, "a folder that snac-exp cache-codes wrote", DataError)
    # Asked first: such a folder has none of today's shards and would pass for an empty one.
    if cache_dir.is_dir() and is_first_generation(cache_dir):
        raise DataError(
            f"{cache_dir}: a first-generation cache; rewrite it once with: snac-exp cache-codes upgrade={cache_dir} "
            f"audio=FOLDER output=NEW_FOLDER codec={codec.name}, then set data.cache_dir=NEW_FOLDER"
        )
    if (cache_dir / MANIFEST_NAME).is_file() and not any(cache_dir.glob("codes-*.parquet")):
        caches = sorted({str(shard.parent) for shard in cache_dir.glob("*/codes-*.parquet")})
        found = ", ".join(caches) or f"make one with: snac-exp cache-codes data={cache_dir} codec={codec.name}"
        raise DataError(f"{cache_dir} is a prepared folder; give the folder of its codes: {found}")
    if not cache_dir.is_dir() or not any(cache_dir.glob("codes-*.parquet")):
        raise DataError(f"{cache_dir}: no code cache there; make one with: {command}")
    table = CodeTable.open(cache_dir)
    spec = table.spec
    # Another codec's codes decode without any error, to other sounds; only the weights tell.
    if spec.codec_fingerprint != codec.fingerprint:
        raise DataError(
            f"{cache_dir}: the codes are of {spec.codec_name} (fingerprint {spec.codec_fingerprint[:12]}),"
            f" the recipe's codec is {codec.name} (fingerprint {codec.fingerprint[:12]});"
            f" choose that codec, or cache in another folder: {command}"
        )
    # The fingerprint is of tensors, and sample rate and VQ strides are in none of them.
    if spec.geometry != codec.geometry:
        raise DataError(
            f"{cache_dir}: the codes have {spec.geometry}, the codec {codec.geometry}; cache again: {command}"
        )
    return table
