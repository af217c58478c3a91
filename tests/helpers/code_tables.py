"""Caches of codes that need no audio."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from snac_exp.data.codes.shards import CacheSpec
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.prepared.places import Places


def table_of(
    utterances: list[list[np.ndarray]], splits: list[str], entries: int, missing: Sequence[int] = ()
) -> CodeTable:
    """A cache in memory, strides 4, 2, 1 and hop 512; missing: samples of each last frame that lie beyond the end."""
    frames = [len(codes[0]) for codes in utterances]
    return CodeTable(
        spec=CacheSpec("f", "a_codec", 24000, 512, (4, 2, 1), None, entries, "d", "/"),
        values=[np.concatenate([codes[book] for codes in utterances]).astype(np.uint16) for book in range(3)],
        offsets=[np.cumsum([0, *(len(codes[book]) for codes in utterances)]).astype(np.int64) for book in range(3)],
        num_samples=np.array(frames, np.int64) * 2048 - np.array(missing or [0] * len(frames), np.int64),
        paths=pa.array([f"{i}.wav" for i in range(len(frames))]),
        splits=pa.array(splits),
        speakers=pa.array(splits),
        places=Places.of_table(pa.table({"path": []})),
        more={},
        made_on=frozenset(),
        file=Path("none"),
        row_checksums=None,
        checked=bytearray(len(frames)),
    )
