"""Reads back and cuts what an offline W&B run has written, so that a resumed run neither repeats nor loses a row."""

import importlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snac_exp.system.files import atomic_path

_FILE_HEADER_BYTES = 7  # ":W&B", two bytes of magic, a version
_BLOCK_BYTES = 32_768  # as in LevelDB
_RECORD_HEADER = struct.Struct("<IHB")  # checksum, length, kind
_WHOLE, _LAST = 1, 4  # LevelDB's kinds of pieces: 1 whole, 2 first, 3 middle, 4 last
_OF_A_ROW = frozenset({"history", "summary", "files", "artifact"})  # the last three come before the row they belong to


def history(path: Path) -> Iterator[dict[str, Any]]:
    """History rows of a .wandb file in order; W&B's own `_step` among the values, nested keys joined by dots."""
    for record, _ in records(path):
        if record.WhichOneof("record_type") == "history":
            yield _row(record)


def records(path: Path) -> Iterator[tuple[Any, int]]:
    """Every whole record of a .wandb file as W&B's protobuf message, with the byte at which it ends."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")  # generated, so without types
    for payload, end in _payloads(path.read_bytes()):
        yield messages.Record.FromString(payload), end


def rewind(path: Path, last_step: int) -> int:
    """Cut a .wandb file after its last history row with `_step` of at most `last_step`; returns the last one it keeps.

    The file is replaced, not altered: W&B's own process may outlive a killed run for a moment, and what it still writes
    then goes to the old one. The result ends as that of a killed run does: whole records, no closing one.
    """
    kept, size, is_head = 0, 0, True
    for record, end in records(path):
        kind = record.WhichOneof("record_type")
        step = int(_row(record)["_step"]) if kind == "history" else 0
        if step > last_step:
            break
        kept = max(kept, step)
        # Before the first row lie the run and its config; they stay even if no row does.
        is_head = is_head and kind not in _OF_A_ROW
        if is_head or kind == "history":
            size = end
    content = path.read_bytes()[:size]
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return kept


def _row(record: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def _payloads(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Payloads of a LevelDB log (the format of the file after its header) and where each ends; a torn end is left out.

    A record is one whole piece, or a first, middle ones and a last; pieces do not cross blocks of 32 KiB.
    """
    offset, pieces = _FILE_HEADER_BYTES, b""
    while offset + _RECORD_HEADER.size <= len(content):
        left_in_block = _BLOCK_BYTES - offset % _BLOCK_BYTES
        # No header fits any more: the rest of the block is filled with zeros.
        if left_in_block < _RECORD_HEADER.size:
            offset += left_in_block
            continue
        _, length, kind = _RECORD_HEADER.unpack_from(content, offset)
        end = offset + _RECORD_HEADER.size + length
        # Zeros, or a piece that ends beyond the file: the process was killed over it.
        if kind == 0 or end > len(content):
            return
        pieces += content[offset + _RECORD_HEADER.size : end]
        offset = end
        if kind in (_WHOLE, _LAST):
            yield pieces, end
            pieces = b""
