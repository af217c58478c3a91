"""Reads an utterance out of whole streams of ids, whatever the arrangement; the inverse of `ids_of_codes`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.ids import Ids, codes_of_frames
from snac_exp.lm.layouts.kinds import as_ids
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.reader import IdReader
from snac_exp.lm.layouts.reading import Gap, Mode, Reading


def read_ids(streams: Sequence[npt.ArrayLike], layout: Layout, mode: Mode = "strict") -> Reading:
    """The codes of streams of ids, as many as `layout.num_streams`.

    Raises:
        DataError: another number of streams; `strict`, and an id that does not belong where it stands, or streams that
            do not cover the same time.
        ConfigError: an unknown mode.
    """
    if len(streams) != layout.num_streams:
        raise DataError(f"layout {layout.name} has {layout.num_streams} streams of ids, not {len(streams)}")
    if layout.arrangement == "frames":
        reader = IdReader(layout, mode)
        reader.push(streams[0])
        return reader.finish()
    if mode not in ("strict", "resync"):
        raise ConfigError(f"mode={mode} is not valid; choose one of: strict, resync")
    rows = [as_ids(row) for row in streams]
    frames = _of_codebooks(rows, layout, mode) if layout.arrangement == "codebooks" else _of_places(rows, layout, mode)
    return _reading(frames, layout, mode)


def _of_codebooks(rows: list[Ids], layout: Layout, mode: Mode) -> Ids:
    """Ids (n, K) of the frames that all codebooks cover."""
    per_frame = [layout.geometry.codebook_length(codebook, 1) for codebook in range(len(rows))]
    num = min(len(row) // each for row, each in zip(rows, per_frame, strict=True))
    if mode == "strict":
        for codebook, (row, each) in enumerate(zip(rows, per_frame, strict=True)):
            if len(row) != num * each:
                raise DataError(
                    f"codebook {codebook} has {len(row)} codes where {num} frames need {num * each}; encode the audio "
                    "again, or mode=resync to drop the rest"
                )
    tables = [row[: num * each].reshape(num, each) for row, each in zip(rows, per_frame, strict=True)]
    return _stacked([tables[place.codebook][:, place.index] for place in layout.places])


def _of_places(rows: list[Ids], layout: Layout, mode: Mode) -> Ids:
    """Ids (n, K) of streams that lag; frames of nothing but fill at the end are not among them."""
    last = layout.num_places - 1
    num = max(min(len(row) - place for place, row in enumerate(rows)), 0)
    if mode == "strict":
        lengths = {len(row) for row in rows}
        if len(lengths) != 1 or min(lengths) < last:
            raise DataError(
                f"streams of {[len(row) for row in rows]} ids: layout {layout.name} lags {last}, so all are of one "
                f"length, of at least {last}; mode=resync takes what covers the same time"
            )
        num = len(rows[0]) - last
        for place, row in enumerate(rows):
            _check_fill(row, place, num, layout)
    frames = _stacked([row[place : place + num] for place, row in enumerate(rows)])
    held = (frames != np.array(layout.fill)).any(axis=1)
    return frames[: int(np.flatnonzero(held)[-1]) + 1 if held.any() else 0]


def _check_fill(row: Ids, place: int, num: int, layout: Layout) -> None:
    outside = np.r_[0:place, place + num : len(row)]
    wrong = outside[row[outside] != layout.fill[place]]
    if len(wrong):
        raise DataError(
            f"position {wrong[0]}, place {place}: id {row[wrong[0]]} where layout {layout.name} fills with "
            f"{layout.fill[place]}; its stream lags {place} frames: choose the layout that wrote the streams"
        )


def _reading(frames: Ids, layout: Layout, mode: Mode) -> Reading:
    firsts = np.array([place.first for place in layout.places])
    valid = (frames >= firsts) & (frames < firsts + np.array([place.size for place in layout.places]))
    good = valid.all(axis=1)
    if mode == "strict" and not good.all():
        row = int(np.flatnonzero(~good)[0])
        number = int(np.flatnonzero(~valid[row])[0])
        place = layout.places[number]
        raise DataError(
            f"position {row}, place {number}: id {frames[row, number]} is no code of codebook {place.codebook} "
            f"of codec {layout.codec_name}, {place.first} to {place.first + place.size - 1}; choose the layout and "
            "codec that wrote the streams, or mode=resync to drop the frame"
        )
    codes = codes_of_frames((frames - firsts)[good], layout)
    return Reading(layout, codes, tuple(_gaps(frames, valid, good)))


def _gaps(frames: Ids, valid: npt.NDArray[np.bool_], good: npt.NDArray[np.bool_]) -> list[Gap]:
    """Runs of frames that are not good; here their time is known."""
    edges = np.flatnonzero(np.diff(np.r_[True, good, True]))
    gaps = []
    for start, end in edges.reshape(-1, 2).tolist():
        codes = int(valid[start:end].sum())
        others = (end - start) * valid.shape[1] - codes
        place = int(np.flatnonzero(~valid[start])[0])
        first = f"id {frames[start, place]} at place {place}, no code of it"
        gaps.append(Gap(start, int(good[:start].sum()), codes, 0, others, end - start, first))
    return gaps


def _stacked(columns: list[npt.NDArray[Any]]) -> Ids:
    return np.stack(columns, axis=1).astype(np.int64)
