"""A packed shard: whole audio files, bytes as they are, in one Arrow IPC file, each with its SHA-256.

Columns: name, sha256 (32 bytes), sha1 (hexadecimal, as manifests have it), audio. The bytes are not compressed by
Arrow, so that an audio file is a run of bytes of the shard, read at its place like any other
(`snac_exp.data.files.recording.Bytes`) without a look at the columns.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from snac_exp.data.checked_parquet import NOT_READABLE
from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path

SCHEMA = pa.schema(
    [("name", pa.large_string()), ("sha256", pa.binary(32)), ("sha1", pa.string()), ("audio", pa.large_binary())]
)
_KEY = b"snac_exp_packed"
_MEND = "delete it and run the same snac-exp pack command again"


@dataclass(frozen=True, slots=True)
class PackedFile:
    """Where an audio file lies in a shard, in bytes, and its SHA-1."""

    name: str
    sha1: str
    first: int
    size: int


def shard_name(index: int, count: int) -> str:
    """File name of a shard, e.g. audio-00000-of-00003.arrow."""
    return f"audio-{index:05d}-of-{count:05d}.arrow"


def write_shard(path: Path, plan: str, batches: Iterable[Sequence[tuple[str, bytes]]]) -> None:
    """Write (name, bytes) atomically, a batch in memory at a time. plan: what tells this packing from others."""
    schema = SCHEMA.with_metadata({_KEY: plan.encode()})
    with atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
        for batch in batches:
            names, contents = zip(*batch, strict=True)
            sha256 = [hashlib.sha256(content).digest() for content in contents]
            sha1 = [hashlib.sha1(content, usedforsecurity=False).hexdigest() for content in contents]
            out.write_batch(pa.record_batch([names, sha256, sha1, contents], schema=schema))


def plan_of(path: Path) -> str:
    """Which packing a shard is of; DataError if it is none."""
    with _batches(path) as (plan, _, _):
        return plan


def read_places(path: Path) -> list[PackedFile]:
    """Where the files of a finished shard lie, from its columns; of the audio nothing is read; DataError if damaged."""
    with _batches(path) as (_, base, batches):
        return [place for batch in batches for place in _places(batch, base)]


def check_shard(path: Path) -> int:
    """Compare every file of a shard with its SHA-256; how many there are.

    Raises:
        DataError: names the first that is not as it was packed.
    """
    num = 0
    with _batches(path) as (_, _, batches):
        for batch in batches:
            audio = batch.column("audio")
            for row, digest in enumerate(batch.column("sha256").to_pylist()):
                if hashlib.sha256(audio[row].as_buffer()).digest() != digest:
                    raise DataError(f"{path}: damaged, {batch['name'][row]} is not as it was packed; {_MEND}")
            num += len(audio)
    return num


@contextmanager
def _batches(path: Path) -> Iterator[tuple[str, int, Iterator[Any]]]:
    """The plan of a shard, the address its mapping begins at, and its batches, views of the mapping."""
    try:
        with pa.memory_map(str(path)) as source:
            base = source.read_buffer().address
            reader = pa.ipc.open_file(source)
            if reader.schema.remove_metadata() != SCHEMA:
                raise ValueError("its columns are not those of a packed shard")
            plan = reader.schema.metadata[_KEY].decode()
            yield plan, base, (_whole(reader.get_batch(i)) for i in range(reader.num_record_batches))
    except NOT_READABLE as error:
        raise DataError(f"{path}: not a readable packed shard ({type(error).__name__}: {error}); {_MEND}") from error


def _whole(batch: Any) -> Any:
    batch.validate(full=True)
    if any(column.null_count for column in batch.columns):
        raise ValueError("files without a name or content")
    return batch


def _places(batch: Any, base: int) -> Iterator[PackedFile]:
    """Where the audio of a batch lies: its buffer within the mapping, and the offsets in it."""
    audio = batch.column("audio")
    _, offsets_buffer, values = audio.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(audio) + 1, audio.offset * 8).tolist()
    start = values.address - base if values is not None else 0
    names, sha1 = (batch.column(name).to_pylist() for name in ("name", "sha1"))
    for row, (name, digest) in enumerate(zip(names, sha1, strict=True)):
        yield PackedFile(name, digest, start + offsets[row], offsets[row + 1] - offsets[row])
