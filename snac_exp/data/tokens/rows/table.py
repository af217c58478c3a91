"""Rows of ids as a table of codes in memory, for what looks at the codes of a cache."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.codes.shards import CacheSpec
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.prepared.places import Places
from snac_exp.data.tokens.rows.spoken import spoken_rows
from snac_exp.errors import DataError
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.reading import Mode


def table_of_rows(source: Path, layout: Layout, codec: LoadedCodec, mode: Mode) -> CodeTable:
    """The codes of a file or folder of rows, two bytes of memory for each; rows without speech are left out.

    Raises:
        DataError: as of `spoken_rows`, or no row has speech.
    """
    codes: list[list[npt.NDArray[np.uint16]]] = [[] for _ in range(layout.geometry.num_codebooks)]
    rows: list[tuple[str, str, str | None, int]] = []
    for spoken in spoken_rows(source, layout, mode):
        if spoken.problem is None:
            rows.append((spoken.name, spoken.split, spoken.speaker, spoken.num_samples))
            for found, tokens in zip(codes, spoken.reading.codes, strict=True):
                found.append(tokens.astype(np.uint16))
    if not rows:
        raise DataError(f"{source}: no row with speech there; snac-exp tokens check input={source} says why")
    names, splits, speakers, num_samples = zip(*rows, strict=True)
    geometry = layout.geometry
    spec = CacheSpec(
        codec.fingerprint, layout.codec_name, geometry.sampling_rate, geometry.hop_length, geometry.vq_strides,
        geometry.attn_window_size, layout.places[0].size, manifest_digest="", audio_root="",
    )  # fmt: skip
    return CodeTable(
        spec=spec,
        values=[np.concatenate(found) for found in codes],
        offsets=[np.cumsum([0, *map(len, found)]).astype(np.int64) for found in codes],
        num_samples=np.array(num_samples, np.int64),
        paths=pa.array(names),
        splits=pa.array(splits),
        speakers=pa.array(speakers, pa.string()),
        places=Places(pa.array(names)),
        more={},
        made_on=frozenset(),
        file=source,
        row_checksums=None,
        checked=bytearray(len(rows)),
    )
