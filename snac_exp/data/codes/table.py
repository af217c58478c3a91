"""All codes of a cache, mapped into memory: a slice of a row costs no read call and no copy of anything but itself."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch
from torch import Tensor

from snac_exp.data.codes.arrow_file import MEND, ROW_CHECKSUM
from snac_exp.data.codes.mapped_codes import open_mapped
from snac_exp.data.codes.shards import CacheSpec
from snac_exp.data.prepared.places import PLACE_SCHEMA, Place, Places
from snac_exp.errors import DataError

UInt32Array = npt.NDArray[np.uint32]
UInt16Array = npt.NDArray[np.uint16]
Int64Array = npt.NDArray[np.int64]
_INT64 = np.dtype(np.int64)  # made once: a row costs a few microseconds in all


@dataclass(frozen=True)
class CodeTable:
    """The rows of a cache. All tokens of codebook i lie in `values[i]`, row r at offsets[i][r] to offsets[i][r + 1].

    num_samples (rows,): true length of each utterance at the codec's rate. All arrays are views of the mapped file,
    which worker processes share. Strings stay in Arrow: lists of Python strings would be copied page by page into every
    worker. more: further columns by name, as text and language. made_on: devices and versions that made the codes.
    """

    spec: CacheSpec
    values: list[UInt16Array]
    offsets: list[Int64Array]
    num_samples: Int64Array
    paths: Any
    splits: Any
    speakers: Any
    places: Places
    more: Mapping[str, Any]
    made_on: frozenset[tuple[str, ...]]
    file: Path
    row_checksums: UInt32Array | None
    checked: bytearray  # rows whose tokens matched their checksum in this process

    @classmethod
    def open(cls, cache_dir: Path) -> "CodeTable":
        """Map a complete cache, converting it once; DataError if it is absent, incomplete, mixed or damaged."""
        mapped = open_mapped(Path(cache_dir))
        batch = mapped.batch
        lists = [batch.column(f"codes_{i}") for i in range(len(mapped.spec.vq_strides))]
        return cls(
            spec=mapped.spec,
            values=[column.values.to_numpy() for column in lists],
            offsets=[column.offsets.to_numpy() for column in lists],
            num_samples=batch.column("num_samples").to_numpy(),
            paths=batch.column("path"),
            splits=batch.column("split"),
            speakers=batch.column("speaker"),
            places=Places.of_table(batch),
            more={name: batch.column(name) for name in mapped.more if name not in PLACE_SCHEMA.names},
            made_on=mapped.made_on,
            file=mapped.path,
            row_checksums=batch.column(ROW_CHECKSUM).to_numpy() if mapped.has_checksums else None,
            checked=bytearray(batch.num_rows),
        )

    def __len__(self) -> int:
        return len(self.num_samples)

    @property
    def coarse_lengths(self) -> Int64Array:
        """Coarse tokens of each row (rows,)."""
        return np.diff(self.offsets[0])

    def codes(self, row: int, codebook: int, tokens: slice | None = None) -> UInt16Array:
        """Tokens (T_i,) of one codebook of a row, a view; the slice counts these tokens and is cut at their end."""
        if not self.checked[row]:
            self.check_row(row)
        # `item` gives Python integers; indexing gives NumPy scalars, and slicing by these is slower.
        offsets = self.offsets[codebook]
        whole = self.values[codebook][offsets.item(row) : offsets.item(row + 1)]
        return whole if tokens is None else whole[tokens]

    def tensors(self, row: int) -> list[Tensor]:
        """Codes[i] (T_i,) int64 of a row, all tokens of every codebook."""
        if not self.checked[row]:
            self.check_row(row)
        make, end = torch.from_numpy, row + 1
        return [
            # astype copies: the map is read-only, and embeddings take int64.
            make(values[offsets.item(row) : offsets.item(end)].astype(_INT64))
            for values, offsets in zip(self.values, self.offsets, strict=True)
        ]

    def check_row(self, row: int) -> None:
        """Compare the tokens of a row with their checksum, if the file has any; DataError if they are damaged."""
        if self.row_checksums is not None:
            crc, end = 0, row + 1
            for values, offsets in zip(self.values, self.offsets, strict=True):
                tokens: Any = values[offsets.item(row) : offsets.item(end)]
                crc = zlib.crc32(tokens, crc)
            if crc != self.row_checksums.item(row):
                raise DataError(f"{self.file}: damaged (the tokens of {self.path(row)} are not as written); {MEND}")
        self.checked[row] = 1

    def check(self) -> str:
        """Read all tokens and compare them with their checksums; a line that says so.

        Raises:
            DataError: names the first row that is damaged.
        """
        if self.row_checksums is None:
            return f"{self.file}: of an earlier version, without checksums; {MEND}"
        for row in range(len(self)):
            self.check_row(row)
        return f"the cached codes of {len(self)} rows are as they were written"

    def path(self, row: int) -> str:
        """Name of the row; of a source file of its own, its path relative to the audio root."""
        return str(self.paths[row].as_py())

    def place(self, row: int) -> Place:
        """Where the row's audio lies below the audio root."""
        return self.places[row]

    def speaker(self, row: int) -> str:
        """Speaker of the row."""
        return str(self.speakers[row].as_py())

    def rows_of(self, split: str) -> Int64Array:
        """Row numbers (n,) of a split."""
        return np.flatnonzero(np.asarray(pc.equal(self.splits, split)))
