"""What changes over the epochs or steps: segment lengths, batch sizes, learning rates.

Numbers of epochs and steps are 1-based and ranges are inclusive everywhere.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Stage:
    """A range of epochs, or of steps, with one segment length, in seconds of audio or in frames of tokens; a last one
    of null means to the end."""

    epochs: tuple[int, int | None] | None = None
    steps: tuple[int, int | None] | None = None
    segment_seconds: float | None = None
    segment_frames: int | None = None
    batch_multiplier: float = 1.0


@dataclass(frozen=True)
class Curriculum:
    """Segment length and batch size over the epochs, or over the steps: `unit` says which range of a stage counts."""

    rounding: Literal["floor", "round"]
    stages: dict[str, Stage]
    unit: Literal["epochs", "steps"] = "epochs"


@dataclass(frozen=True)
class OneCycle:
    """Shape of a one-cycle schedule: warm-up share, start = peak / div, end = start / final_div."""

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4


@dataclass(frozen=True)
class WarmupCosine:
    """Shape of a warm-up with cosine decay: share of the phase that rises, and the rate at its end."""

    pct_start: float = 0.03
    eta_min: float = 0.0


@dataclass(frozen=True)
class LrPhase:
    """A range of epochs, or of steps, with one schedule; peak learning rate per group, null = frozen."""

    schedule: Literal["constant", "cosine", "one_cycle", "warmup_cosine"]
    groups: dict[str, float | None]
    epochs: tuple[int, int | None] | None = None
    steps: tuple[int, int | None] | None = None


@dataclass(frozen=True)
class Lr:
    """Parameter groups by pattern and their learning rates by phase; a pattern of null means: no such group.

    unit: which range of a phase counts.
    """

    groups: dict[str, str | None]
    phases: dict[str, LrPhase]
    one_cycle: OneCycle = OneCycle()
    warmup_cosine: WarmupCosine = WarmupCosine()
    cosine_final_ratio: float = 0.1  # rate at the end of a cosine schedule / its peak
    unit: Literal["epochs", "steps"] = "epochs"
