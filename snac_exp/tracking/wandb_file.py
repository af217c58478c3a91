"""Reads back what an offline W&B run has written, so that a resumed run neither repeats nor loses a row."""

import importlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FILE_HEADER_BYTES = 7
_BLOCK_BYTES = 32_768
_RECORD_HEADER = struct.Struct("<IHB")  # checksum, length, kind
_WHOLE, _LAST = 1, 4


def history(path: Path) -> Iterator[dict[str, Any]]:
    """History rows of a .wandb file in order; W&B's own `_step` among the values, nested keys joined by dots."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")  # generated, so without types
    for payload in _records(path.read_bytes()):
        record = messages.Record.FromString(payload)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            yield {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[bytes]:
    """Payloads of a LevelDB log (the format of the file after its header); a torn end is left out.

    A record is one whole piece, or a first, middle ones and a last; pieces do not cross blocks of 32 KiB.
    """
    offset, pieces = _FILE_HEADER_BYTES, b""
    while offset + _RECORD_HEADER.size <= len(content):
        left_in_block = _BLOCK_BYTES - offset % _BLOCK_BYTES
        if left_in_block < _RECORD_HEADER.size:
            offset += left_in_block
            continue
        _, length, kind = _RECORD_HEADER.unpack_from(content, offset)
        end = offset + _RECORD_HEADER.size + length
        if kind == 0 or end > len(content):
            return
        pieces += content[offset + _RECORD_HEADER.size : end]
        offset = end
        if kind in (_WHOLE, _LAST):
            yield pieces
            pieces = b""
