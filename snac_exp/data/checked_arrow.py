"""The checksum of a record batch: of the values of its rows, however they came to lie in memory."""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def checksum_of(batch: Any, header: bytes) -> int:
    """CRC-32 of a header and of all columns but the values within lists; ValueError where a buffer is too short for the
    rows."""
    crc = zlib.crc32(header)
    for field, column in zip(batch.schema, batch.columns, strict=True):
        crc = zlib.crc32(f"{field.name} {field.type} {len(column)} {column.null_count}".encode(), crc)
        if len(column) and not column.offset:
            for values in _buffers(column):
                crc = zlib.crc32(values.data, crc)
    return crc


def _buffers(column: Any) -> list[npt.NDArray[Any]]:
    """The values of a column of numbers; offsets and bytes of texts; offsets of lists; which values there are."""
    if column.null_count:  # of further columns alone
        given = column.is_valid().to_numpy(zero_copy_only=False)
        return [given, *_buffers(column.drop_null())]
    if pa.types.is_null(column.type):
        return []
    if not (pa.types.is_large_list(column.type) or pa.types.is_large_string(column.type)):
        return [column.to_numpy(zero_copy_only=False)]
    offsets = np.frombuffer(column.buffers()[1], np.int64, len(column) + 1)
    if pa.types.is_large_list(column.type):
        return [offsets]
    first, last, text = int(offsets[0]), int(offsets[-1]), column.buffers()[2]
    size = text.size if text is not None else 0
    if not 0 <= first <= last <= size:
        raise ValueError(f"texts at {first} to {last} of {size} bytes")
    return [offsets] + ([np.frombuffer(text, np.uint8, last - first, first)] if last > first else [])
