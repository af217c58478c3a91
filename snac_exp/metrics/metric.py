"""What is said of a metric: its name, unit and better side, how it is shown, and what computes it.

Pages and `snac-exp compare` read these descriptions without torch, so files of metrics import it within functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snac_exp.metrics.sides import Side, arrow_of

if TYPE_CHECKING:
    from torch import Tensor

Function = Callable[["Tensor", "Tensor", int], float | None]
"""(reference (N,), estimate (N,), sampling rate in Hz) -> value; None where it is undefined, never NaN."""

TextFunction = Callable[[str, str], float | None]
"""(text, recognised text) -> value; None where it is undefined."""

LAST = 1000  # order of a metric that says none: behind those of this package


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: key in summary.json, files.parquet and clips.json, after the last slash.
        title, unit: in tables and charts; unit "" = none.
        better: `lower`, `higher`, `closest_to_0`, or None where nobody knows.
        decimals: in tables; None = significant digits.
        order: of its column; equal ones stand by name.
        function: computes it; None = training does, and only logs it.
        rates: sampling rates in Hz where it is defined; None = all.
        high_band: defined only for recordings that reach above 12 kHz by themselves.
        perceptual_rate: both signals are resampled to this rate in Hz first; None = as they are. Such a metric models
            a listener, and needs whole utterances.
        headline: shown where there is room for few.
        missing: says why it cannot be had here, with the mend; None where it can.
        group: measured only where `quality` of an evaluation names this group; None = always.
        reference_free: of the estimate alone, so that the recording has a value too, which others are read against.
        text_function: computes it of the text and of what a recogniser understood, instead of `function`.
        packages: distributions whose version may change its values.
    """

    name: str
    title: str
    unit: str = ""
    better: Side | None = "lower"
    decimals: int | None = None
    order: int = LAST
    function: Function | None = None
    rates: tuple[int, ...] | None = None
    high_band: bool = False
    perceptual_rate: int | None = None
    headline: bool = False
    missing: Callable[[], str | None] = lambda: None
    group: str | None = None
    reference_free: bool = False
    text_function: TextFunction | None = None
    packages: tuple[str, ...] = ()

    @property
    def full_title(self) -> str:
        """With its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def arrow(self) -> str:
        """Which way is better, as an arrow; empty where nobody knows."""
        return "" if self.better is None else arrow_of(self.better)

    def applies(self, rate: int) -> bool:
        """Whether it is defined for signals at this rate in Hz."""
        return self.rates is None or rate in self.rates

    def text(self, value: float, *, signed: bool = False) -> str:
        """A value with this metric's decimals, without a negative zero; four significant digits where it has none."""
        sign = "+" if signed else ""
        # "z": a difference that rounds to -0.00 is shown as 0.00.
        return f"{value:{sign}z.{self.decimals}f}" if self.decimals is not None else f"{value:{sign}.4g}"
