"""What a run must remember: everything else follows from the config and this."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class TrainState:
    """Position and memory of a run.

    Attributes:
        epoch: the epoch under way, 1-based; one past the last when training is over.
        batch: batches of that epoch already trained.
        step: optimiser steps over the whole run.
        audio_seconds: seconds of audio trained on, padding included.
        elapsed_seconds: wall-clock seconds of training over all attempts.
        best: lowest validation objective so far, per head and `weighted`.
        metrics_position: bytes of metrics.jsonl that belong to this state.
        outliers, rollbacks: what the guards remember, see `snac_exp.training.guards`.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    audio_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    metrics_position: int = 0
    outliers: dict[str, Any] = field(default_factory=dict)
    rollbacks: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainState":
        """The state of a checkpoint; a field it lacks is an error, never a default."""
        return cls(**{item.name: values[item.name] for item in fields(cls)})
