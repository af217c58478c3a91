"""The data source `audio_folder`: prepared folders of raw audio, encoded by the frozen codec while training.

A slice is cut first and only it is read, on the same grid of coarse tokens as cached codes. What the encoder sees
beyond the window is silence, not the utterance, so tokens near its edges are not those of the whole: `context_tokens`
encodes (and decodes) more than is scored, and cached codes avoid it altogether.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from snac_exp.config.structure import structure
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.data.files.reading import Slice
from snac_exp.data.packed.lookup import PackedPlaces
from snac_exp.data.packed.names import local_pack
from snac_exp.data.prepared.manifest import open_manifest_table, refuse_other_pack
from snac_exp.data.slices.audio_table import AudioTable, Int64Array
from snac_exp.data.slices.dataset import AlignedDataset, AudioFolders, Part
from snac_exp.data.slices.mixing import mix
from snac_exp.data.slices.sampling import SliceSpec
from snac_exp.data.slices.splits import Splits, existing_folder, limited
from snac_exp.errors import ConfigError, DataError

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

WINDOW = ""  # among the names of heads, which are not empty


@dataclass(frozen=True)
class Source:
    """One prepared folder, its share of the slices, and where its files lie."""

    path: str
    weight: float = 1.0
    target_dir: str | None = None
    audio_root: str | None = None
    target_delay_seconds: float = 0.0


class AudioDataset(AlignedDataset):
    """The rows of one split of an AudioTable; a row may come several times. Items hold `source` instead of codes."""

    def __init__(self, table: AudioTable, rows: Int64Array, codec: "LoadedCodec", heads: dict[str, int]) -> None:
        # One pair of folders is what the base class has; here `folders_of` looks up each row's.
        super().__init__(table, rows, codec.geometry, heads, table.folders[0])
        self.table, self.codec = table, codec

    def folders_of(self, row: int) -> AudioFolders:
        """Where the row's files lie."""
        return self.table.folders[self.table.folder_of(int(self.rows[row]))]

    def packed_sources(self, folder: Path) -> PackedPlaces | None:
        """None where the table itself says where in their files its rows lie."""
        return None if self.table.places.columns is not None else super().packed_sources(folder)

    def rows_by_folders(self) -> list[tuple[AudioFolders, Int64Array]]:
        """The rows of the table, each once, in parts (n,) with where the files of each part lie."""
        # A row that comes several times for its weight is looked up once.
        rows, firsts = np.unique(self.rows), self.table.firsts
        parts = [rows[(rows >= first) & (rows < stop)] for first, stop in pairwise(firsts)]
        return [(folders, part) for folders, part in zip(self.table.folders, parts, strict=True) if len(part)]

    def whole_codes(self, row: int) -> list[Tensor]:
        """Codes[i] (T_i,) int64 of a whole utterance, encoded here and now on the CPU."""
        rate = self.geometry.sampling_rate
        audio, _ = self._read(row, {WINDOW: Slice(rate, 0, int(self.num_samples[row]))})[WINDOW]
        # As cached codes are made: lower precision picks other entries where two are about equally near.
        with torch.no_grad(), exact_float32():
            codes = self.codec.model.encode(audio[None, None].to(next(self.codec.model.parameters()).device))
        return [tokens[0].cpu().clone() for tokens in codes]

    def _parts(self, spec: SliceSpec) -> tuple[list[Tensor], Tensor | None, dict[str, Part]]:
        """No codes; the window's audio (num,) at the codec's rate, zero beyond the end of the utterance; targets."""
        own_rate = self.geometry.sampling_rate
        wanted = {WINDOW: self._slice(own_rate, spec.window_start, spec.window_tokens)}
        wanted |= {
            head: self._slice(rate, spec.start, spec.num_tokens)
            for head, rate in self.heads.items()
            if rate != own_rate
        }
        read = self._read(spec.row, wanted)
        source, _ = read.pop(WINDOW)
        # The native target is a part of the input. `source` begins with the window, so the slice is cut at its offset
        # in it, not at its start in the utterance.
        native = source[self.geometry.audio_slice(spec.offset, spec.num_tokens, own_rate)]
        end = int(self.num_samples[spec.row])
        return [], source, {head: read.get(head, (native, end)) for head in self.heads}


@dataclass(frozen=True)
class AudioFolder:
    """Options of the data source.

    path: what `snac-exp prepare` wrote; sources: several of these, each with its weight (share of the slices) and its
    own target_dir, target_delay_seconds and audio_root. These, limit, context_tokens, validation_*: as for CachedCodes.
    Validation takes all folders alike, whatever their weights.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"audio"})

    path: str | None = None
    sources: list[dict[str, Any]] = field(default_factory=list)
    target_dir: str | None = None
    target_delay_seconds: float = 0.0
    audio_root: str | None = None
    limit: int | None = None
    context_tokens: int | None = 0
    validation_seconds: float = 4.0
    validation_slices: int = 64

    def open(self, codec: "LoadedCodec", heads: dict[str, int], seed: int) -> Splits:
        """Open the folders for a codec and heads (name -> rate in Hz).

        Raises ConfigError if no folder or two kinds are named, DataError if manifests, audio or targets are missing.
        """
        sources = self._sources()
        # Tables, not objects per row: manifests may have millions.
        manifests = [open_manifest_table(local_pack(source.path)) for source in sources]
        folders = [
            _folders(source, rows, header["input_dir"])
            for source, (rows, header) in zip(sources, manifests, strict=True)
        ]
        table = AudioTable.build([rows for rows, _ in manifests], folders, codec.geometry)
        # Limited before mixing, each folder by itself: their weights keep their meaning.
        train = [limited(table.rows_of("train", i), self.limit, seed) for i in range(len(sources))]
        for source, rows in zip(sources, train, strict=True):
            if len(rows) == 0:
                raise DataError(f"{source.path}: no train rows; prepare the folder with another split")
        # Not mixed: validation must not change when weights do.
        validation = np.concatenate([table.rows_of("validation", i) for i in range(len(sources))])
        if len(validation) == 0:
            raise DataError(f"{sources[0].path}: no validation rows; prepare the folder with another split")
        mixed = mix(train, [source.weight for source in sources], seed)
        datasets = (AudioDataset(table, mixed, codec, heads), AudioDataset(table, validation, codec, heads))
        return Splits.of(
            *datasets,
            codec,
            seed,
            context_tokens=self.context_tokens,
            seconds=self.validation_seconds,
            num_slices=self.validation_slices,
        )

    def _sources(self) -> list[Source]:
        # True where both are given and where neither is.
        if (self.path is None) == (not self.sources):
            raise ConfigError("data: name one prepared folder with data.path=FOLDER, or several with data.sources")
        if self.path is not None:
            return [Source(self.path, 1.0, self.target_dir, self.audio_root, self.target_delay_seconds)]
        if self.target_dir is not None or self.audio_root is not None or self.target_delay_seconds:
            raise ConfigError(
                "data.target_dir, target_delay_seconds and audio_root belong to data.path; give them in each of "
                "data.sources"
            )
        # The schema leaves the entries of this list alone, so a misspelt key is caught here.
        return [structure(Source, dict(item), f"data.sources[{i}]") for i, item in enumerate(self.sources)]


def _folders(source: Source, rows: pa.Table, input_dir: str) -> AudioFolders:
    folder = existing_folder("audio_root", source.audio_root or input_dir)
    # Files alone are found in it by their names, places within files are of one folder.
    if source.audio_root is not None and "file" in rows.schema.names:
        refuse_other_pack(local_pack(source.path), folder)
    return AudioFolders(
        source=folder,
        targets=existing_folder("target_dir", source.target_dir) if source.target_dir else None,
        target_delay_seconds=source.target_delay_seconds,
    )
