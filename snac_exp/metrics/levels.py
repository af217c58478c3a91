"""Heads whose level at a validation is far below that of their targets."""

from collections.abc import Mapping
from typing import Any

from snac_exp.metrics.waveform.level import LEVEL

TOLD_DB = 6.0
"""A head more than this below its target is told: half the amplitude."""

CAUSE = (
    "Where it came to this by training, L1 and complex STFT terms are the likely cause: their best answer to a phase "
    "that cannot be foreseen is a smaller signal. Add loss.terms.log_mel or loss.terms.stft_magnitude, raise their "
    "weight, or train with adversary=dac"
)
"""Why a head falls silent, and the mend."""


def heads_below(values: Mapping[str, float], limit_db: float = TOLD_DB) -> dict[str, float]:
    """Heads more than `limit_db` below their targets in a validation, with their levels in dB."""
    levels = {
        name.removesuffix(f"/{LEVEL.name}"): value for name, value in values.items() if name.endswith(f"/{LEVEL.name}")
    }
    return {head: level for head, level in levels.items() if "/" not in head and level < -limit_db}


def levels_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The `head/level_db` of a validation's line of metrics.jsonl, in dB."""
    found = {key.removeprefix("val/"): value for key, value in line.items() if key.endswith(f"/{LEVEL.name}")}
    return {key: value for key, value in found.items() if value is not None}
