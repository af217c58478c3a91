"""How codes become the ids of a speech language model."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Specials:
    """N of the tokens around speech, whose ids are vocabulary + N."""

    start_of_speech: int
    end_of_speech: int
    start_of_human: int
    end_of_human: int
    start_of_ai: int
    end_of_ai: int
    pad: int


@dataclass(frozen=True)
class TokenLayout:
    """A file of conf/layout/. What is null there follows from the codec; see `snac_exp.lm.layouts.layout`."""

    name: str
    arrangement: Literal["frames", "codebooks", "delay"]
    vocabulary: int  # ids below it are text
    base: int  # N of code 0 at place 0
    places: list[int] | None  # codebook of each place of a coarse frame
    codebook_size: int | None  # ids from one place to the next
    offsets: list[int] | None  # N of code 0 at each place, counted from base
    specials: Specials | None
    end_of_text: int | None  # id
    fill: int | None  # id where a stream of `delay` has no code
