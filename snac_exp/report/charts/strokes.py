"""Points as SVG paths on a plot of 1000 x 1000, and the scales that put them there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snac_exp.report.charts.series import Drawn, Floats

SIZE = 1000.0  # the view box of the SVG; one decimal of it is less than a pixel


@dataclass(frozen=True)
class Scale:
    """An axis from low to high onto 0 to 1000."""

    low: float
    high: float
    log: bool = False

    def __call__(self, values: Floats) -> Floats:
        # The logarithm of 0 or less is no number, which the caller takes for not visible.
        with np.errstate(divide="ignore", invalid="ignore"):
            places = np.log10(values) if self.log else values
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        scaled: Floats = (places - low) / (high - low) * SIZE
        return scaled

    def percent(self, value: float) -> float:
        """Place of one value, 0 to 100."""
        return round(float(self(np.array([value]))[0]) / SIZE * 100, 2)


@dataclass(frozen=True)
class Stroke:
    """SVG paths of a line: the band from lowest to highest, the line, its dots, and on the axis what is not finite."""

    band: str
    path: str
    dots: str
    lost: str


def stroke(drawn: Drawn, x: Scale, y: Scale, *, dots: bool, breaks: Sequence[float] = ()) -> Stroke:
    """The paths of a line, which is interrupted after the x values of `breaks`.

    What is below a logarithmic axis is left out; what leaves a linear one stays on its edge.
    """
    places, heights = x(drawn.x), y(drawn.mean)
    visible = np.isfinite(heights) & ((heights >= 0) if y.log else True)
    parts = np.searchsorted(np.asarray(breaks, float), drawn.x, side="left")
    band = ""
    if drawn.num_merged > 1:
        # SVG has no NaN; points that are not visible are cut out below.
        low, high = (np.nan_to_num(np.clip(y(part), 0, SIZE)) for part in (drawn.low, drawn.high))
        band = _area(places[visible], low[visible], high[visible])
    # A point between two gaps has no line, so without a dot it would vanish.
    shown = (places[visible], heights[visible]) if dots else _lonely(places, heights, visible, parts)
    missing = np.isnan(drawn.mean)
    lost = _dots(places[missing], np.zeros(int(missing.sum())))
    return Stroke(band, path(places, np.clip(heights, 0, SIZE), visible, parts), _dots(*shown), lost)


def path(x: Floats, y: Floats, visible: NDArray[np.bool_], parts: NDArray[np.int64]) -> str:
    """A line through the points of each part, broken where one is not visible; the y axis points up."""
    text, before = "", None
    # A path begins anew (M) after a gap or a break, else it goes on (L).
    for place, height, shown, part in zip(x, y, visible, parts, strict=True):
        if shown:
            text += f"{'L' if part == before else 'M'}{_point(place, height)}"
        before = part if shown else None
    return text


def _lonely(x: Floats, y: Floats, visible: NDArray[np.bool_], parts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Points (P,) x and y without a neighbour to draw a line to."""
    joined = visible[1:] & visible[:-1] & (parts[1:] == parts[:-1])
    alone = visible & ~np.append(joined, False) & ~np.insert(joined, 0, False)
    return x[alone], y[alone]


def _area(x: Floats, low: Floats, high: Floats) -> str:
    if not len(x):
        return ""
    there = [_point(*pair) for pair in zip(x, high, strict=True)]
    back = [_point(*pair) for pair in zip(x[::-1], low[::-1], strict=True)]
    return f"M{'L'.join(there + back)}Z"


def _dots(x: Floats, y: Floats) -> str:
    """Lines without length: round caps make them dots that no stretching distorts."""
    return "".join(f"M{_point(place, height)}h0" for place, height in zip(x, y, strict=True))


def _point(x: Any, y: Any) -> str:
    # SVG counts downwards.
    return f"{_number(x)} {_number(SIZE - y)}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
