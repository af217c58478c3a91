"""Heads whose level at a validation is far below that of their targets."""

from collections.abc import Mapping
from typing import Any

from snac_exp.config.schema.objective import Loss
from snac_exp.metrics.waveform.level import LEVEL

TOLD_DB = 6.0
"""A head more than this below its target is told: half the amplitude."""

SILENCING = ("l1", "stft_complex")
"""Loss terms that a smaller signal serves where the phase is unknown."""


def trained_terms(loss: Loss, head: str, phase: str | None = None) -> list[str]:
    """The terms that a head trains on in a phase of lr.phases; None: in those that have no weights of their own."""
    own = loss.term_weights() | loss.head_terms.get(head, {}) | loss.phase_terms.get(phase or "", {})
    return [name for name, weight in own.items() if weight > 0]


def cause(loss: Loss, head: str) -> str:
    """Why a head may have come to be quiet by this objective, and the mend."""
    used = trained_terms(loss, head)
    silencing = [name for name in used if name in SILENCING]
    if silencing:
        return (
            f"Where it came to this by training, {' and '.join(silencing)} may be the cause: their best answer to a "
            "phase that cannot be foreseen is a smaller signal. Add loss.terms.log_mel or loss.terms.stft_magnitude, "
            "raise their weight, or train with adversary=dac"
        )
    return (
        f"It trains on {', '.join(used) or 'no term'}. Spectra compared frame by frame leave it below the true level "
        "where tokens do not tell what comes, and a codec that is quiet itself hands that on: begin from a codec that "
        "is not, train longer, add loss.terms.band_powers or raise its weight, or train with adversary=dac"
    )


def heads_below(values: Mapping[str, float], limit_db: float = TOLD_DB) -> dict[str, float]:
    """Heads more than `limit_db` below their targets in a validation, with their levels in dB."""
    levels = {
        name.removesuffix(f"/{LEVEL.name}"): value for name, value in values.items() if name.endswith(f"/{LEVEL.name}")
    }
    return {head: level for head, level in levels.items() if "/" not in head and level < -limit_db}


def silence_in(line: Mapping[str, Any]) -> str | None:
    """Which heads a validation's line of metrics.jsonl found far below their targets, in words; before the first step
    nothing is told."""
    below = {} if line["step"] == 0 else heads_below(levels_of(line))
    return ", ".join(f"{head} is {-level:.1f} dB below its target" for head, level in below.items()) or None


def levels_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The `head/level_db` of a validation's line of metrics.jsonl, in dB."""
    found = {key.removeprefix("val/"): value for key, value in line.items() if key.endswith(f"/{LEVEL.name}")}
    return {key: value for key, value in found.items() if value is not None}
