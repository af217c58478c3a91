"""Position and memory of a run: everything else follows from the config and this."""

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
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    audio_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    metrics_position: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Take up the values of a checkpoint; KeyError for a field it lacks, which never gets a default."""
        # All are read before the first is set: a field that is missing leaves the state as it was.
        for name, value in {item.name: values[item.name] for item in fields(self)}.items():
            setattr(self, name, value)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainState":
        """A state of these values; see `load_state_dict`."""
        state = cls()
        state.load_state_dict(values)
        return state
