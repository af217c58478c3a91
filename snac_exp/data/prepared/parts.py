"""Which of the usable rows train and which validate, and whose they are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snac_exp.data.files.listing import Listing
from snac_exp.data.measuring.measurements import Int64Array, Measurements
from snac_exp.data.prepared.settings import PrepareSettings
from snac_exp.data.prepared.split import draw_files, draw_validation, given_split, match_speakers, speaker_of
from snac_exp.errors import DataError

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Usable:
    """Numbers of the rows that can be used, in the order of their paths, and what was measured of all."""

    indexes: Int64Array
    measurements: Measurements

    @property
    def seconds(self) -> Float64Array:
        """Of each."""
        return self.measurements.seconds[self.indexes]


@dataclass(frozen=True)
class Parts:
    """Of each usable row the speaker, as a number in `names`, and whether it validates."""

    speakers: npt.NDArray[np.int32]
    names: list[str]
    validates: npt.NDArray[np.bool_]


def refuse_indivisible(listing: Listing, settings: PrepareSettings) -> None:
    """The errors of `split_rows` that are certain before anything is measured, which may take hours."""
    indexes = np.arange(len(listing.rows))
    if settings.split == "given":
        has_split = (given_split(row.split) is not None for row in listing.rows.each(indexes))
        indexes = indexes[np.fromiter(has_split, bool, len(indexes))]
        if not listing.rows.splits():
            raise DataError(
                f"{listing.input}: split=given, and no row names a split; draw them with split=speaker or split=file, "
                "or name the column that has them: 'columns={split: NAME}'"
            )
    if len(indexes) >= 2:  # less is measured at once, and what is wrong with a single file says more
        split_rows(indexes, np.ones(len(indexes)), settings, listing)


def split_rows(indexes: Int64Array, seconds: Float64Array, settings: PrepareSettings, listing: Listing) -> Parts:
    """Rows of these numbers and lengths, by the settings; DataError where they leave none to train or to validate."""
    numbers: dict[str, int] = {}
    speakers = np.empty(len(indexes), np.int32)
    for place, row in enumerate(listing.rows.each(indexes)):
        speakers[place] = numbers.setdefault(row.speaker or speaker_of(row.file, settings.speaker_level), len(numbers))
    names = list(numbers)
    if settings.split == "given":
        return Parts(speakers, names, _given(indexes, listing))
    # Named speakers go to validation whole, whatever `split` says.
    if settings.split == "file" and settings.validation_speakers is None:
        paths = (row.path for row in listing.rows.each(indexes))  # by path, as numbers of equal seeds are drawn
        return Parts(speakers, names, draw_files(paths, seconds, settings.train_ratio, settings.seed))
    of_speaker = dict(zip(names, np.bincount(speakers, seconds).tolist(), strict=True))
    if settings.validation_speakers is not None:
        chosen = match_speakers(list(of_speaker), settings.validation_speakers)
    else:
        chosen = draw_validation(of_speaker, settings.train_ratio, settings.seed)
    return Parts(speakers, names, np.array([name in chosen for name in names])[speakers])


def _given(indexes: Int64Array, listing: Listing) -> npt.NDArray[np.bool_]:
    """Which rows validate, as the source says."""
    validates = (given_split(row.split) == "validation" for row in listing.rows.each(indexes))
    found = np.fromiter(validates, bool, len(indexes))
    if not 0 < found.sum() < len(found):
        missing = "trains" if found.any() else "validates"
        raise DataError(f"split=given: no row of the source {missing}; draw them with split=speaker or split=file")
    return found
