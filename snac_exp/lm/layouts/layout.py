"""What an id of a speech language model means: a layout of conf/layout/ on the strides and codebooks of one codec."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from snac_exp.codec.geometry import Geometry
from snac_exp.config.schema import Specials, TokenLayout
from snac_exp.errors import CodecError, ConfigError
from snac_exp.lm.frames import FrameLayout

MAX_ID = 2**31 - 1  # what libraries take for an id


@dataclass(frozen=True)
class Place:
    """One token of a coarse frame.

    codebook, index: it is the index-th token that this codebook has in the frame. first: id of code 0. size: codes.
    """

    codebook: int
    index: int
    first: int
    size: int


@dataclass(frozen=True)
class Layout:
    """A layout on one codec; made by `layout_of`.

    places (K,): tokens of a coarse frame, in the order of the ids. ids below `vocabulary` are text. specials: ids.
    fill (K,): id of each stream where it holds no code; only `delay` has such places.
    """

    name: str
    codec_name: str
    geometry: Geometry
    arrangement: Literal["frames", "codebooks", "delay"]
    places: tuple[Place, ...]
    vocabulary: int
    specials: Specials | None
    end_of_text: int | None
    fill: tuple[int, ...]

    @property
    def num_places(self) -> int:
        """Tokens per coarse frame, K."""
        return len(self.places)

    @property
    def num_streams(self) -> int:
        """Streams of ids: 1 (`frames`), one per codebook (`codebooks`) or per place (`delay`)."""
        return {"frames": 1, "codebooks": self.geometry.num_codebooks, "delay": self.num_places}[self.arrangement]

    @property
    def num_ids(self) -> int:
        """Entries that a model's vocabulary needs at least: one more than the highest id."""
        specials: Sequence[int] = () if self.specials is None else tuple(vars(self.specials).values())
        fill = self.fill if self.arrangement == "delay" else ()
        highest = max(place.first + place.size - 1 for place in self.places)
        return 1 + max(highest, self.vocabulary - 1, *specials, *fill)

    def seconds(self, num_frames: int) -> float:
        """Length of the audio of so many coarse frames."""
        return num_frames * self.geometry.coarse_hop / self.geometry.sampling_rate


def layout_of(options: TokenLayout, codec_name: str, geometry: Geometry, codebook_size: int) -> Layout:
    """The layout of a config on a codec whose codebooks have `codebook_size` entries.

    Raises:
        CodecError: they do not fit; names both.
        ConfigError: the layout contradicts itself, whatever the codec.
    """
    order = _order(options, codec_name, geometry)
    step = codebook_size if options.codebook_size is None else options.codebook_size
    if step < codebook_size:
        raise CodecError(
            f"layout {options.name} (layout.codebook_size={step}) does not fit codec {codec_name}, whose codebooks "
            f"have {codebook_size} entries: ids of two places would be the same; set layout.codebook_size=null"
        )
    base = options.vocabulary + options.base
    firsts = [base + offset for offset in _offsets(options, codec_name, len(order), step)]
    counts = [itertools.count() for _ in geometry.vq_strides]
    places = tuple(
        Place(codebook, next(counts[codebook]), first, codebook_size)
        for codebook, first in zip(order, firsts, strict=True)
    )
    fill = tuple(first + step if options.fill is None else options.fill for first in firsts)
    specials = _special_ids(options)
    layout = Layout(
        name=options.name,
        codec_name=codec_name,
        geometry=geometry,
        arrangement=options.arrangement,
        places=places,
        vocabulary=options.vocabulary,
        specials=specials,
        end_of_text=options.end_of_text,
        fill=fill,
    )
    _check(layout)
    return layout


def _order(options: TokenLayout, codec_name: str, geometry: Geometry) -> Sequence[int]:
    """Codebook of every place."""
    in_time = FrameLayout.coarse(geometry.vq_strides, 1, 1.0).codebooks
    if options.places is not None and sorted(options.places) != sorted(in_time):
        raise CodecError(
            f"layout {options.name} (layout.places={options.places}) does not fit codec {codec_name}, whose strides "
            f"{list(geometry.vq_strides)} make {list(in_time)} of a coarse frame; set layout.places=null"
        )
    return in_time if options.places is None else options.places


def _offsets(options: TokenLayout, codec_name: str, num_places: int, step: int) -> Sequence[int]:
    """Distance of every place's code 0 from the base."""
    if options.offsets is None:
        return [0 if options.arrangement != "frames" else place * step for place in range(num_places)]
    if options.arrangement == "codebooks":
        raise ConfigError(f"layout.offsets={options.offsets}: layout {options.name} holds plain codes; set it to null")
    if len(options.offsets) != num_places:
        raise CodecError(
            f"layout {options.name} (layout.offsets={options.offsets}) does not fit codec {codec_name}, whose coarse "
            f"frame has {num_places} tokens; give one offset for each, or null"
        )
    return options.offsets


def _special_ids(options: TokenLayout) -> Specials | None:
    if options.specials is None:
        return None
    return Specials(**{name: options.vocabulary + number for name, number in vars(options.specials).items()})


def _check(layout: Layout) -> None:
    """No id may have two meanings."""
    named = {} if layout.specials is None else {f"specials.{name}": i for name, i in vars(layout.specials).items()}
    ranges = {name: (i, i + 1) for name, i in named.items()} | {"vocabulary": (0, layout.vocabulary)}
    for number, place in enumerate(layout.places if layout.arrangement == "frames" else ()):
        ranges[f"place {number}"] = (place.first, place.first + place.size)
    found = sorted((start, end, name) for name, (start, end) in ranges.items() if end != start)
    for (_, end, one), (start, _, other) in itertools.pairwise(found):
        if start < end:
            raise ConfigError(
                f"layout {layout.name}: id {start} would be of {one} and of {other}; change base, offsets or specials"
            )
    if min([start for start, _, _ in found], default=0) < 0 or layout.num_ids - 1 > MAX_ID:
        raise ConfigError(
            f"layout {layout.name}: ids must lie between 0 and {MAX_ID}; change vocabulary, base or offsets"
        )
    if layout.arrangement == "delay":
        for number, (place, fill) in enumerate(zip(layout.places, layout.fill, strict=True)):
            if place.first <= fill < place.first + place.size or fill < 0:
                raise ConfigError(f"layout.fill={fill} is a code of place {number}; take an id that is none, or null")
