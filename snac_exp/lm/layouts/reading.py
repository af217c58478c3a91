"""What was read of a stream: codes, what was dropped and where, and which time the codes are of."""

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from snac_exp.lm.layouts.ids import Ids
from snac_exp.lm.layouts.kinds import Kind
from snac_exp.lm.layouts.layout import Layout

Mode = Literal["strict", "resync"]


@dataclass(frozen=True)
class Gap:
    """A stretch of a stream that was dropped, because no frame fits there.

    position: of its first id in the stream (of its first frame, where there are several streams). frame: frames kept
    before it. num_codes, num_text, num_others: ids of each kind. lost_frames: the time it stands for, where codes
    whose places rise are what is left of one frame. first: what its first id is, for people.
    """

    position: int
    frame: int
    num_codes: int
    num_text: int
    num_others: int
    lost_frames: int
    first: str

    @property
    def num_ids(self) -> int:
        """All ids that were dropped here."""
        return self.num_codes + self.num_text + self.num_others

    @property
    def line(self) -> str:
        """For people."""
        return (
            f"position {self.position}, after {self.frame} frames: {self.num_ids} ids dropped ({self.num_codes} codes, "
            f"{self.num_text} text, {self.num_others} others), about {self.lost_frames} frames lost; first {self.first}"
        )


def gap_of(position: int, frame: int, kinds: list[int], first: str, layout: Layout) -> Gap:
    """The gap of dropped ids with these places or kinds."""
    codes = sum(kind >= 0 for kind in kinds)
    text = sum(kind in (Kind.TEXT, Kind.END_OF_TEXT) for kind in kinds)
    places = [kind for kind in kinds if kind >= 0]
    # A place that comes again is of the same frame: a token that came twice takes no time.
    lost = sum(after < before for before, after in itertools.pairwise(places)) + bool(places)
    return Gap(position, frame, codes, text, len(kinds) - codes - text, lost, first)


@dataclass(frozen=True)
class Reading:
    """One utterance out of a stream.

    codes[i] (T_i,): of the frames that were kept. gaps: what was dropped, in order. text_ids: the prompt's, as far as
    they have ids. ended: the stream says where speech ends; else it simply stops.
    """

    layout: Layout
    codes: list[Ids]
    gaps: tuple[Gap, ...] = ()
    text_ids: tuple[int, ...] = ()
    ended: bool = False

    @property
    def num_frames(self) -> int:
        """Coarse frames that were kept."""
        return len(self.codes[0])

    @property
    def num_dropped(self) -> int:
        """Ids that were dropped."""
        return sum(gap.num_ids for gap in self.gaps)

    @property
    def seconds(self) -> float:
        """Length of the audio of the frames that were kept."""
        return self.layout.seconds(self.num_frames)

    @property
    def source_frames(self) -> Ids:
        """Where each kept frame (n,) stood in the stream's own time, in coarse frames: behind a gap they are later."""
        frames = np.arange(self.num_frames)
        for gap in self.gaps:
            frames[gap.frame :] += gap.lost_frames
        return frames

    @property
    def source_seconds(self) -> float:
        """Length of the audio with the lost frames."""
        return self.layout.seconds(self.num_frames + sum(gap.lost_frames for gap in self.gaps))
