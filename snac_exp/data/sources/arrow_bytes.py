"""Arrow files as `datasets` keeps them: where the bytes of each value lie, so that they are read in place."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from snac_exp.data.files.recording import Bytes
from snac_exp.errors import DataError


@dataclass(frozen=True)
class ArrowFile:
    """An open file, mapped: its schema, its batches, and where in memory it begins."""

    path: Path
    schema: Any
    batches: list[Any]
    mapped: Any

    def places(self, batch: Any, column: str) -> Iterator[Bytes | None]:
        """Where the bytes of each row of a batch lie, null where a row has none.

        Raises:
            DataError: they do not lie in the file as they are: it is compressed.
        """
        values = batch.column(column)
        if pa.types.is_struct(values.type):
            # A value that is null has null bytes too, as `datasets` writes it.
            values = values.field("bytes")
        _, offsets_buffer, data = values.buffers()
        if data is None:
            yield from [None] * len(values)
            return
        first = data.address - self.mapped.address
        if not 0 <= first <= first + data.size <= self.mapped.size:
            raise DataError(
                f"{self.path}: its bytes are compressed, and rows are read in place; write it without compression, or "
                "as Parquet"
            )
        kind = np.int64 if pa.types.is_large_binary(values.type) else np.int32
        offsets = np.frombuffer(offsets_buffer, kind, len(values) + 1, values.offset * np.dtype(kind).itemsize)
        for number, value in enumerate(values.is_valid().to_pylist()):
            start, stop = int(offsets[number]), int(offsets[number + 1])
            yield Bytes(first + start, stop - start) if value else None


def open_arrow(path: Path) -> ArrowFile:
    """A file of the stream format, as `datasets` writes, or of the file format; Arrow's own errors if it is neither."""
    mapped = pa.memory_map(str(path)).read_buffer()
    try:
        reader = pa.ipc.open_stream(mapped)
        batches = list(reader)
    except pa.ArrowInvalid:
        reader = pa.ipc.open_file(mapped)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    return ArrowFile(path, reader.schema, batches, mapped)
