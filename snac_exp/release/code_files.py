"""Codes on disk: .npz for one signal, Parquet for many. Both say whose codes they are; neither can run code."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from snac_exp.data import checked_parquet
from snac_exp.errors import DataError
from snac_exp.release.codes import Codes
from snac_exp.system.files import atomic_path
from snac_exp.system.paths.kind import TORCH_KINDS, fault_of

MAX_NPZ_BYTES = 2**28
"""Largest unpacked size that is read: an hour of codes is about 1 MB, so more is no honest file."""

MAX_ROW_TOKENS = 2**24
"""Most tokens of one codebook in a row of a Parquet file, where a few bytes may stand for millions of equal tokens."""

METADATA_KEY = b"snac_exp_codes"
_VERSION = 1  # of the Parquet files
_SCALARS = ("num_samples", "sample_rate", "codebooks")
_ROWS_READ_AT_ONCE = 16  # as Python lists they take far more memory than in the file
_NOT_READABLE = (
    *(ValueError, OSError, EOFError, KeyError, RuntimeError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def write_npz(target: Path | IO[bytes], codes: Codes) -> None:
    """Arrays codes_0 … (B, T_i), num_samples, sample_rate and codebooks; atomically if `target` is a path."""
    arrays: dict[str, Any] = {f"codes_{i}": _narrow(tokens.numpy()) for i, tokens in enumerate(codes.tokens)}
    arrays |= {"num_samples": np.int64(codes.num_samples), "sample_rate": np.int64(codes.sample_rate)}
    arrays["codebooks"] = np.array(codes.codebooks)
    if not isinstance(target, Path):
        np.savez_compressed(target, **arrays)
        return
    # An open file, since savez appends .npz to a name that lacks it, as the temporary one does.
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(source: Path | bytes) -> Codes:
    """Codes of `write_npz`, from a file or its bytes.

    Raises:
        DataError: not there, damaged, too large, holds anything but these arrays, or arrays of Python objects.
    """
    name = "the input" if isinstance(source, bytes) else str(source)
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        _check_archive(file, name)
        with zipfile.ZipFile(file) as archive:
            arrays = {item.removesuffix(".npy"): _array(archive.read(item)) for item in archive.namelist()}
    except FileNotFoundError:
        raise DataError(f"there is no {name}") from None
    except _NOT_READABLE as error:
        fault = "" if isinstance(source, bytes) else f"{fault_of(source, 'NumPy arrays (npz)', *TORCH_KINDS)}, "
        raise DataError(f"{name} holds no codes that can be read ({fault}{error}); encode again") from None
    return _codes_of(arrays, name)


@contextmanager
def parquet_writer(path: Path, num_codebooks: int, codebooks: str) -> Iterator["ParquetCodes"]:
    """A Parquet file (zstd, with a checksum) that appears under its name once all rows are written.

    Columns: path, num_samples, sample_rate (of the source), codes_0 … as lists of uint32.
    """
    metadata = {"version": _VERSION, "codebooks": codebooks}
    columns = [("path", pa.string()), ("num_samples", pa.int64()), ("sample_rate", pa.int64())]
    columns += [(f"codes_{i}", pa.list_(pa.uint32())) for i in range(num_codebooks)]
    schema = pa.schema(columns).with_metadata({METADATA_KEY: json.dumps(metadata).encode()})
    with checked_parquet.parquet_writer(path, schema) as writer:
        yield ParquetCodes(writer, schema)


class ParquetCodes:
    """Appends rows to a Parquet file of codes."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema

    def append(self, path: str, codes: Codes) -> None:
        """One signal under its relative path."""
        # A row group per signal: rows go to the disk at once, and a reader needs memory for few of them.
        row: dict[str, Any] = {"path": path, "num_samples": codes.num_samples, "sample_rate": codes.sample_rate}
        row |= {f"codes_{i}": tokens[0].numpy().astype(np.uint32) for i, tokens in enumerate(codes.tokens)}
        self._writer.write_table(pa.Table.from_pylist([row], schema=self._schema))


def read_parquet(path: Path) -> Iterator[tuple[str, Codes]]:
    """Rows (relative path as stored, codes) of a Parquet file of `parquet_writer`, a few in memory at a time.

    Raises:
        DataError: not there, damaged, or not of this kind. The stored paths are not checked here.
    """
    try:
        checked_parquet.check_parquet(path, "file of codes", "encode again")
        file = pq.ParquetFile(path)
        metadata = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
        names = [name for name in file.schema_arrow.names if name.startswith("codes_")]
        for batch in file.iter_batches(batch_size=_ROWS_READ_AT_ONCE):
            # Before to_pylist, which makes a Python object of every token.
            _check_rows(batch, names, path)
            for row in batch.to_pylist():
                arrays = {name: np.asarray(row[name], dtype=np.int64) for name in names}
                arrays |= {key: np.array(row[key]) for key in ("num_samples", "sample_rate")}
                yield str(row["path"]), _codes_of(arrays | {"codebooks": np.array(metadata["codebooks"])}, str(path))
    except FileNotFoundError:
        raise DataError(f"there is no {path}") from None
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        fault = fault_of(path, "Parquet")
        raise DataError(f"{path} is no Parquet file of snac-exp encode, or damaged: {fault} ({error})") from None


def _check_rows(batch: pa.RecordBatch, names: list[str], path: Path) -> None:
    longest = max((pc.max(pc.list_value_length(batch.column(name))).as_py() or 0 for name in names), default=0)
    if longest > MAX_ROW_TOKENS:
        raise DataError(f"{path} has a row of {longest:,} tokens; that is no file of codes")


def _array(member: bytes) -> Any:
    """An array of a member that was read to its end, where its checksum is compared."""
    return np.lib.format.read_array(io.BytesIO(member), allow_pickle=False)


def _check_archive(file: Any, name: str) -> None:
    """The list of contents, before anything is unpacked."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    # The sizes are the archive's own claim; zipfile reads no further than that.
    total = sum(member.file_size for member in members)
    if total > MAX_NPZ_BYTES or len(members) > 64:
        raise DataError(f"{name} would unpack to {len(members)} arrays of {total} bytes; that is no file of codes")
    if hasattr(file, "seek"):
        # ZipFile leaves the position at the end, np.load starts where it is.
        file.seek(0)


def _codes_of(arrays: Mapping[str, Any], name: str) -> Codes:
    num_codebooks = sum(key.startswith("codes_") for key in arrays)
    tokens_keys = [f"codes_{i}" for i in range(num_codebooks)]
    if not num_codebooks or set(arrays) != {*tokens_keys, *_SCALARS}:
        raise DataError(f"{name} holds {sorted(arrays)}; a file of codes holds codes_0 …, {', '.join(_SCALARS)}")
    # Written by hand, one row may be one-dimensional.
    tokens = [np.atleast_2d(arrays[key]) for key in tokens_keys]
    scalars = [arrays[key] for key in _SCALARS[:2]]
    # A float that happens to be whole is refused too: somebody computed on the codes.
    whole = [item.dtype.kind in "iu" for item in (*tokens, *scalars)]
    if not all(whole) or any(item.ndim != 2 for item in tokens) or any(item.ndim or item < 1 for item in scalars):
        raise DataError(f"{name}: tokens, num_samples and sample_rate must be whole numbers; encode again")
    # Signed, since torch has no arithmetic on uint16 and uint32.
    rows = tuple(torch.from_numpy(item.astype(np.int64)) for item in tokens)
    return Codes(rows, int(scalars[0]), int(scalars[1]), str(arrays["codebooks"]))


def _narrow(tokens: Any) -> Any:
    """The smallest unsigned type that holds them."""
    return tokens.astype(np.uint16 if tokens.max(initial=0) < 2**16 else np.uint32)
