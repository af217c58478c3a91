"""Codes to ids, and coarse frames in between: (n, K), a column for each place of the layout."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snac_exp.errors import DataError
from snac_exp.lm.layouts.layout import Layout

Ids = npt.NDArray[np.int64]


def ids_of_codes(codes: Sequence[npt.ArrayLike], layout: Layout) -> list[Ids]:
    """Streams of ids of codes[i] (T_i,): one (n * K,), one (T_i,) per codebook, or one (n + K - 1,) per place.

    `frames`: no specials around it. `delay`: n = 0 gives streams of nothing but fill.

    Raises:
        DataError: not the codec's number of codebooks, not the same time, or a value outside of its codebook.
    """
    frames = frames_of_codes(codes, layout)
    if layout.arrangement == "codebooks":
        shifted = frames + np.array([place.first for place in layout.places])
        return codes_of_frames(shifted, layout)
    ids: Ids = frames + np.array([place.first for place in layout.places], np.int64)
    if layout.arrangement == "frames":
        return [ids.reshape(-1)]
    last = layout.num_places - 1
    return [
        np.pad(ids[:, place], (place, last - place), constant_values=layout.fill[place])
        for place in range(layout.num_places)
    ]


def frames_of_codes(codes: Sequence[npt.ArrayLike], layout: Layout) -> Ids:
    """Codes[i] (T_i,) as coarse frames (n, K); errors as `ids_of_codes`."""
    geometry = layout.geometry
    rows = [np.asarray(row) for row in codes]
    if len(rows) != geometry.num_codebooks:
        raise DataError(
            f"codes of {len(rows)} codebooks are not of codec {layout.codec_name}, which has {geometry.num_codebooks}"
        )
    num_frames = len(rows[0])
    for codebook, row in enumerate(rows):
        _check_row(row, codebook, geometry.codebook_length(codebook, num_frames), layout)
    tables = [row.reshape(num_frames, -1) if num_frames else row.reshape(0, 1) for row in rows]
    frames = np.empty((num_frames, layout.num_places), np.int64)
    for number, place in enumerate(layout.places if num_frames else ()):
        frames[:, number] = tables[place.codebook][:, place.index]
    return frames


def codes_of_frames(frames: npt.NDArray[Any], layout: Layout) -> list[Ids]:
    """Coarse frames (n, K) as codes[i] (T_i,); the inverse of `frames_of_codes`, values are not looked at."""
    columns: list[list[int]] = [[] for _ in layout.geometry.vq_strides]
    for number, place in enumerate(layout.places):
        columns[place.codebook].append(number)
    return [np.ascontiguousarray(frames[:, numbers], np.int64).reshape(-1) for numbers in columns]


def _check_row(row: npt.NDArray[Any], codebook: int, expected: int, layout: Layout) -> None:
    # An empty list is of floats to NumPy.
    if row.ndim != 1 or (len(row) and not np.issubdtype(row.dtype, np.integer)):
        raise DataError(f"codes of codebook {codebook} must be whole numbers (T,), not {row.dtype} {list(row.shape)}")
    if len(row) != expected:
        raise DataError(
            f"codebook {codebook} has {len(row)} codes where codebook 0 asks for {expected}; encode the audio again"
        )
    size = layout.places[0].size
    wrong = np.flatnonzero((row < 0) | (row >= size))
    if len(wrong):
        raise DataError(
            f"codebook {codebook}, position {wrong[0]}: code {row[wrong[0]]} is none of codec {layout.codec_name}, "
            f"which has 0 to {size - 1}; choose the codec that made the codes"
        )
