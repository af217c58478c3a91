"""The code shards once more as one uncompressed Arrow file that is mapped, not read: codes.arrow beside the shards.

Compressed parquet cannot be mapped: each process would hold all codes in memory and decode them at every start. The
file is made on first use, or by `cache-codes` at its end, and again whenever the shards have changed. It is whole or
absent, and an interrupted conversion goes on at the shard where it stopped.
"""

import hashlib
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.codes.arrow_file import (
    MAPPED_NAME,
    ROW_CHECKSUM,
    ROW_COLUMNS,
    MappedCodes,
    read_mapped,
    write_mapped,
)
from snac_exp.data.codes.shards import (
    CacheSpec,
    ShardMetadata,
    differences,
    list_shards,
    more_of,
    read_metadata,
    read_shard,
    shard_schema,
)
from snac_exp.data.prepared.places import PLACE_SCHEMA
from snac_exp.errors import DataError
from snac_exp.system.files import left_beside, read_json, remove_left, write_signed_json
from snac_exp.system.locks import one_at_a_time
from snac_exp.system.paths.writing import write_whole
from snac_exp.system.progress import progress_display

SHARDS_PER_CHECKPOINT = 64  # an interrupted conversion repeats at most these

_BUILDING_NAME = ".codes.arrow.building"
_OF_TOKENS = re.compile(rf"(codes|length)_\d+|{ROW_CHECKSUM}")


def open_mapped(cache_dir: Path) -> MappedCodes:
    """Map the codes of a complete cache, converting the shards first where that has not been done since they changed.

    Raises DataError if the cache is absent, incomplete, mixed or damaged, or the folder cannot be written to.
    """
    shards = list_shards(cache_dir)
    stamp = _stamp(shards)
    found = read_mapped(cache_dir / MAPPED_NAME, stamp)
    if found is not None:
        return found
    with _lock(cache_dir):
        found = read_mapped(cache_dir / MAPPED_NAME, stamp)  # another process may have made it meanwhile
        if found is None:
            _convert(cache_dir, shards, stamp)
            found = read_mapped(cache_dir / MAPPED_NAME, stamp)
    if found is None:
        raise DataError(f"{cache_dir}: the shards changed while they were converted; wait until they are finished")
    return found


def _stamp(shards: list[Path]) -> str:
    """What the shards are, by name, size and modification time; opening none of them."""
    lines = []
    for path in shards:
        stat = path.stat()
        lines.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _convert(cache_dir: Path, shards: list[Path], stamp: str) -> None:
    """Append shard after shard to one flat file per codebook, then write them as one Arrow file."""
    remove_left(left_beside(cache_dir / MAPPED_NAME))
    building = _Building(cache_dir / _BUILDING_NAME, stamp)
    # Of finished shards only the small columns are read again: their tokens lie in the flat files.
    rows = [_shard_rows(path) for path in shards[: building.num_shards]]
    with progress_display("mapping codes", len(shards)) as advance:
        advance(building.num_shards, "")
        first = rows[0][1].spec if rows else read_metadata(shards[0]).spec
        with building.appending(len(first.vq_strides)) as files:
            for number, path in enumerate(shards[building.num_shards :], building.num_shards + 1):
                table, metadata = _read_shard(path)
                _check_shard(path, table, metadata, first)
                for i, file in enumerate(files):
                    write_whole(file, _flat(table[f"codes_{i}"])[0].data, building.file(i))
                rows.append((_with_lengths(table, len(files)), metadata))
                if number % SHARDS_PER_CHECKPOINT == 0 or number == len(shards):
                    building.checkpoint(number, files)
                advance(1, "")
    _write(cache_dir / MAPPED_NAME, rows, building, first, stamp)
    building.remove()


class _Building:
    """The folder of a conversion under way: flat files of tokens and how far they are complete."""

    def __init__(self, folder: Path, stamp: str) -> None:
        self.folder, self.stamp = folder, stamp
        try:
            state = read_json(folder / "state.json")
            self.num_shards, self._sizes = int(state["num_shards"]), list(map(int, state["sizes"]))
            begun = state["stamp"] == stamp
        except (OSError, ValueError, KeyError, TypeError):
            begun = False  # not begun, or damaged
        if not begun:
            self.remove()
            folder.mkdir(parents=True)
            self.num_shards, self._sizes = 0, []

    @contextmanager
    def appending(self, num_codebooks: int) -> Iterator[Sequence[IO[bytes]]]:
        """The flat files, cut back to the last checkpoint."""
        with ExitStack() as stack:
            files = [stack.enter_context(open(self.file(i), "ab", buffering=0)) for i in range(num_codebooks)]
            # What was written behind the last checkpoint may be part of a shard.
            for file, size in zip(files, self._sizes or [0] * num_codebooks, strict=False):
                file.truncate(size)
            yield files

    def checkpoint(self, num_shards: int, files: Sequence[IO[bytes]]) -> None:
        """Everything so far is on disk."""
        # Tokens first, then the state that counts them: after a power cut it must not promise more than there is.
        for file in files:
            os.fsync(file.fileno())
        state = {"stamp": self.stamp, "num_shards": num_shards, "sizes": [file.tell() for file in files]}
        write_signed_json(self.folder / "state.json", state)

    def file(self, codebook: int) -> Path:
        """Flat uint16 tokens of one codebook."""
        return self.folder / f"codes_{codebook}.u16"

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write(
    path: Path,
    rows: list[tuple[pa.Table, ShardMetadata]],
    building: _Building,
    spec: CacheSpec,
    stamp: str,
) -> None:
    table = pa.concat_tables(part for part, _ in rows)
    names = _row_columns(table)
    columns = {name: _large(table[name].combine_chunks()) for name in names}
    for i in range(len(spec.vq_strides)):
        lengths = table[f"length_{i}"].to_numpy()
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        if building.file(i).stat().st_size != offsets[-1] * np.dtype(np.uint16).itemsize:
            raise DataError(f"{building.folder}: damaged; delete the folder, the codes are then mapped from the start")
        # An empty file cannot be mapped.
        flat = np.memmap(building.file(i), np.uint16, "r") if offsets[-1] else np.zeros(0, np.uint16)
        tokens = pa.Array.from_buffers(pa.uint16(), len(flat), [None, pa.py_buffer(flat)])
        # Offsets of 64 bits: all tokens of a codebook are one array, which may have more than 2^31.
        columns[f"codes_{i}"] = pa.LargeListArray.from_arrays(pa.array(offsets), tokens)
    columns[ROW_CHECKSUM] = table[ROW_CHECKSUM].combine_chunks()
    made_on = {metadata.made_on for _, metadata in rows}
    write_mapped(path, columns, spec, made_on, stamp, [name for name in names if name not in ROW_COLUMNS])


def _large(column: Any) -> Any:
    """Strings with 64-bit offsets; in one chunk they may be more than 2 GB."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column


def _read_shard(path: Path) -> tuple[pa.Table, ShardMetadata]:
    def read(file: pq.ParquetFile, metadata: ShardMetadata) -> tuple[pa.Table, ShardMetadata]:
        codes = [f"codes_{i}" for i in range(len(metadata.spec.vq_strides))]
        more = more_of(file.schema_arrow, len(codes)).names
        ours = [*ROW_COLUMNS, *(name for name in more if name in PLACE_SCHEMA.names), *codes]
        table = file.read([*ROW_COLUMNS, *more, *codes], use_threads=False)
        wanted = shard_schema(len(codes), PLACE_SCHEMA)
        if any(table.schema.field(name).type != wanted.field(name).type for name in ours):
            raise ValueError("columns of other types")
        table.validate(full=True)
        lists = [table[name].combine_chunks().flatten() for name in codes]
        if any(values.null_count for values in (*(table[name] for name in ours), *lists)):
            raise ValueError("rows without a value")
        return table, metadata

    return read_shard(path, read)


def _shard_rows(path: Path) -> tuple[pa.Table, ShardMetadata]:
    """What _convert keeps of a shard whose tokens lie in the flat files already."""
    table, metadata = _read_shard(path)
    return _with_lengths(table, len(metadata.spec.vq_strides)), metadata


def _with_lengths(table: pa.Table, num_codebooks: int) -> pa.Table:
    """The rows without their tokens: with how many there are of each codebook, and with their checksum."""
    kept = table.select(_row_columns(table)).replace_schema_metadata(None)
    flat = [_flat(table[f"codes_{i}"]) for i in range(num_codebooks)]
    for i, (_, lengths) in enumerate(flat):
        kept = kept.append_column(f"length_{i}", pa.array(lengths, pa.int64()))
    return kept.append_column(ROW_CHECKSUM, pa.array(_row_checksums(flat), pa.uint32()))


def _row_columns(table: pa.Table) -> list[str]:
    """All but the tokens and what is counted of them."""
    return [name for name in table.schema.names if not _OF_TOKENS.fullmatch(name)]


def _row_checksums(flat: Sequence[tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]]) -> list[int]:
    """CRC-32 of each row's tokens, codebook after codebook."""
    checksums = [0] * len(flat[0][1])
    for tokens, lengths in flat:
        end = 0
        for row, length in enumerate(lengths.tolist()):
            start, end = end, end + length
            checksums[row] = zlib.crc32(tokens[start:end].data, checksums[row])
    return checksums


def _flat(column: Any) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """All tokens (T,) of a list column and the length of each list (rows,)."""
    chunks = column.chunks
    values = [chunk.flatten().to_numpy() for chunk in chunks]
    lengths = [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in chunks]
    return (
        values[0] if len(values) == 1 else np.concatenate([*values, np.zeros(0, np.uint16)]),
        np.concatenate([*lengths, np.zeros(0, np.int64)]).astype(np.int64),
    )


def _check_shard(path: Path, table: pa.Table, metadata: ShardMetadata, first: CacheSpec) -> None:
    """One cache, every codebook with its share of tokens, audio as long as they are, tokens within the codebook."""
    spec, geometry = metadata.spec, metadata.spec.geometry
    if spec != first:
        raise DataError(f"{path}: {differences(first, spec)} differ from the first shard; keep one cache per folder")
    coarse = _flat(table["codes_0"])[1]
    for i, stride in enumerate(geometry.vq_strides):
        tokens, lengths = _flat(table[f"codes_{i}"])
        # Multiplied on both sides instead of divided: a rest would be rounded away.
        _refuse(
            path,
            table,
            lengths * stride != coarse * geometry.vq_strides[0],
            f"a wrong number of tokens in codebook {i}",
        )
        # On a GPU an index beyond the codebook ends the process with an error that names no file.
        if len(tokens) and int(tokens.max()) >= spec.codebook_size:
            raise DataError(
                f"{path}: token {tokens.max()} in a codebook of {spec.codebook_size}; delete it, cache again"
            )
    step_samples = geometry.coarse_step * geometry.coarse_hop
    expected = -(-table["num_samples"].to_numpy() // step_samples) * geometry.coarse_step
    _refuse(path, table, expected != coarse, "codes of another length than its audio")


def _refuse(path: Path, table: pa.Table, wrong: npt.NDArray[np.bool_], what: str) -> None:
    """DataError naming the first row of a table for which `wrong` (rows,) is true."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise DataError(f"{path}: {table['path'][int(rows[0])]} has {what}; delete the shard and cache again")


@contextmanager
def _lock(cache_dir: Path) -> Iterator[None]:
    """One process converts, the others wait."""
    with ExitStack() as stack:
        try:
            stack.enter_context(one_at_a_time(cache_dir / ".codes.arrow.lock"))
        except OSError as error:
            raise DataError(
                f"{cache_dir}: holds no {MAPPED_NAME} of its shards, and cannot be written to ({error.strerror}); let "
                "someone who can run snac-exp cache-codes on it with merge=true"
            ) from error
        yield
