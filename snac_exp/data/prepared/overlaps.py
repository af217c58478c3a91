"""Segments of one file that overlap, one of which trains while the other validates."""

import numpy as np
import numpy.typing as npt

from snac_exp.data.files.listing import Listing
from snac_exp.data.measuring.measurements import Int64Array
from snac_exp.data.prepared.parts import Parts, Usable

BoolArray = npt.NDArray[np.bool_]


def overlaps_line(usable: Usable, parts: Parts, listing: Listing) -> list[str]:
    """A line where validating rows hold audio that is trained on."""
    if not usable.measurements.has_segments:
        return []
    validates = np.zeros(len(usable.measurements), bool)
    validates[usable.indexes] = parts.validates
    groups = (np.array(group) for group in listing.rows.by_file(usable.indexes) if len(group) > 1)
    num = sum(_num_shared(*usable.measurements.extents(group), validates[group]) for group in groups)
    what = "validating rows overlap training rows of the same file, so validation hears what was trained on"
    return [f"{num} {what}; split=speaker keeps speakers apart"] if num else []


def _num_shared(starts: Int64Array, stops: Int64Array, validates: BoolArray) -> int:
    """How many of the validating rows of one file overlap a training one; starts, stops (rows,) in samples."""
    order = np.argsort(starts[~validates])
    begins, ends = starts[~validates][order], np.maximum.accumulate(stops[~validates][order])
    before = np.searchsorted(begins, stops[validates])  # training rows that begin before each validating one ends
    furthest = np.concatenate([[-1], ends])[before]
    return int((furthest > starts[validates]).sum())
