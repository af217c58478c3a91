"""Numbers as people read them."""

import math
from datetime import timedelta
from itertools import pairwise

DASH = "\u2013"


def figure(value: object, digits: int = 4) -> str:
    """A number with so many significant digits, thousands apart; a dash for None, words for what is not finite."""
    if value is None:
        return DASH
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "not finite"
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    # The exponent after rounding: 9.9996 with four digits is 10.00.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if exponent < -4:
        return compact(value)
    return minus(f"{value:,.{max(digits - 1 - exponent, 0)}f}")


def compact(value: float) -> str:
    """5e-05 -> 5e-5, 0.0002 -> 2e-4: the form that recipes use for learning rates."""
    if value == 0:
        return "0"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return minus(f"{float(digits):g}e{int(exponent)}")


def signed(value: float, digits: int = 3) -> str:
    """A difference: always with its sign."""
    text = figure(float(value), digits)
    return text if value <= 0 or not math.isfinite(value) else f"+{text}"


def minus(text: str) -> str:
    """The minus sign of typography at the front, as wide as a plus."""
    return f"\u2212{text[1:]}" if text.startswith("-") else text


def duration(seconds: float | None) -> str:
    """3725 -> 1:02:05; under a minute in seconds."""
    if seconds is None:
        return DASH
    if seconds < 59.95:  # from here on one decimal would round to 60.0
        return f"{seconds:.1f} s"
    return str(timedelta(seconds=round(seconds)))


def megabytes(num_bytes: float) -> str:
    """1234567 -> 1.2 MB."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.0f} kB"


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2, 2.5 or 5 times a power of ten) inside a range, at most so many."""
    if not high > low:
        return [low]
    # The largest power of ten below the step that is needed; the factors widen it.
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50, 100):
        step = factor * power
        # The slack keeps an end of the range that rounding put a hair inside of it.
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [index * step for index in range(first, last + 1)]
    return [low]


def tick_labels(ticks: list[float]) -> list[str]:
    """Labels with as many decimals as tell the ticks apart."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=abs(ticks[0]) or 1.0)
    largest = max(abs(tick) for tick in ticks)
    if largest and (largest < 1e-3 or largest >= 1e7):
        return [compact(tick) for tick in ticks]
    decimals = next((number for number in range(9) if abs(step * 10**number - round(step * 10**number)) < 1e-6), 9)
    return [minus(f"{tick + 0.0:,.{decimals}f}") for tick in ticks]  # + 0.0 turns -0.0 into 0
