"""Write packed shards: each whole or absent, so that a packing that was killed goes on at the shard where it was."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from snac_exp.data.packed.contents import read_contents
from snac_exp.data.packed.names import SHARD_NAME
from snac_exp.data.packed.plan import PackOptions, ShardPlan, plan_shards
from snac_exp.data.packed.shard_file import (
    PackedFile,
    check_shard,
    plan_of,
    read_places,
    shard_name,
    write_shard,
)
from snac_exp.data.packed.sources import AudioFiles, sizes_of
from snac_exp.errors import DataError
from snac_exp.system.files import remove_left
from snac_exp.system.progress import Advance, progress_display

Int64Array = npt.NDArray[np.int64]
BATCH_BYTES = 2**25  # of audio in memory at once


@dataclass(frozen=True)
class Spans:
    """Of every file (files,): number of its shard, its first byte there, its bytes, and their SHA-1."""

    shard_of: Int64Array
    first: Int64Array
    size: Int64Array
    sha1: list[str]


@dataclass(frozen=True)
class Packing:
    """The shards of some audio files in a folder, some of which may be there."""

    files: AudioFiles
    folder: Path
    options: PackOptions
    plan: ShardPlan
    sizes: Int64Array

    @classmethod
    def begin(cls, files: AudioFiles, folder: Path, options: PackOptions) -> "Packing":
        """Plan the shards.

        Raises:
            DataError: a file is not there, or the folder holds shards of another packing.
        """
        sizes = sizes_of(files)
        packing = cls(files, folder, options, plan_shards(files.names, files.speakers, sizes, options), sizes)
        remove_left(folder.glob(".*.tmp"))
        packing._refuse_foreign()
        return packing

    def path(self, shard: int) -> Path:
        """File of a shard."""
        return self.folder / shard_name(shard, self.plan.num_shards)

    def write(self, shards: Sequence[int], num_readers: int) -> int:
        """Write those shards that are not there; how many were written."""
        todo = [shard for shard in shards if not self.path(shard).exists()]
        num_files = sum(len(self.plan.files(shard)) for shard in todo)
        with progress_display("pack", num_files) as advance, ThreadPoolExecutor(num_readers) as pool:
            for shard in todo:
                write_shard(self.path(shard), self.plan.digest, self._batches(shard, pool, advance))
        return len(todo)

    def there(self) -> list[int]:
        """Shards that are there."""
        return [shard for shard in range(self.plan.num_shards) if self.path(shard).exists()]

    def missing(self) -> list[int]:
        """Shards that are not there yet."""
        return sorted(set(range(self.plan.num_shards)) - set(self.there()))

    def spans(self) -> "Spans":
        """Where all files lie; DataError where a shard is damaged or holds others."""
        num = len(self.sizes)
        spans = Spans(np.empty(num, np.int64), np.empty(num, np.int64), np.empty(num, np.int64), [""] * num)
        for shard in range(self.plan.num_shards):
            numbers, found = self.plan.files(shard), read_places(self.path(shard))
            self._refuse_others(shard, numbers, found)
            for file, place in zip(numbers, found, strict=True):
                spans.shard_of[file], spans.first[file], spans.size[file] = shard, place.first, place.size
                spans.sha1[file] = place.sha1
        return spans

    def shard_column(self, spans: "Spans", file_of: Int64Array) -> pa.Array:
        """The name of the shard that holds the file of every row (rows,)."""
        names = pa.array([self.path(shard).name for shard in range(self.plan.num_shards)])
        return pa.DictionaryArray.from_arrays(pa.array(spans.shard_of[file_of]), names).cast(pa.string())

    def check(self) -> int:
        """Compare every file of every shard with its SHA-256; how many there are; DataError names one that differs."""
        num = 0
        with progress_display("check", self.plan.num_shards) as advance:
            for shard in range(self.plan.num_shards):
                num += check_shard(self.path(shard))
                advance(1, "")
        return num

    def _batches(self, shard: int, pool: ThreadPoolExecutor, advance: Advance) -> Iterator[list[tuple[str, bytes]]]:
        for numbers in self._by_bytes(self.plan.files(shard)):
            yield list(zip([self.files.names[file] for file in numbers], pool.map(self._read, numbers), strict=True))
            advance(len(numbers), "")

    def _by_bytes(self, numbers: list[int]) -> Iterator[list[int]]:
        """The files in batches of about BATCH_BYTES."""
        before = np.cumsum(self.sizes[numbers]) - self.sizes[numbers]
        parts = np.flatnonzero(np.diff(before // BATCH_BYTES)) + 1
        for part in np.split(np.array(numbers), parts):
            yield part.tolist()

    def _read(self, file: int) -> bytes:
        listed = lambda sha1: self.files.is_listed(file, sha1)  # noqa: E731
        return read_contents(self.files.recording(file), listed, self.options.audio)

    def _refuse_others(self, shard: int, numbers: list[int], found: list[PackedFile]) -> None:
        if [place.name for place in found] != [self.files.names[file] for file in numbers]:
            raise DataError(f"{self.path(shard)}: holds other files than planned; delete it and run the command again")

    def _refuse_foreign(self) -> None:
        ours = {self.path(shard).name for shard in range(self.plan.num_shards)}
        for path in sorted(self.folder.glob("audio-*.arrow")):
            if SHARD_NAME.fullmatch(path.name) and (path.name not in ours or plan_of(path) != self.plan.digest):
                raise DataError(f"{path}: of another packing; choose another output folder, or delete the shards")
