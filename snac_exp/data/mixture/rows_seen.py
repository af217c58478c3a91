"""How many rows of every source a run has trained on."""

from collections.abc import Mapping
from typing import Any


class RowsSeen:
    """Counts by source, over all ranks and attempts; rows of steps that the guards left out count too."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, rows: Mapping[str, int]) -> None:
        """Count the rows of a step."""
        for name, number in rows.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def metrics(self) -> dict[str, float]:
        """`data/rows_seen/NAME`; nothing where there are no sources."""
        return {f"data/rows_seen/{name}": float(number) for name, number in self.counts.items()}

    def line(self) -> str:
        """For people."""
        total = max(1, sum(self.counts.values()))
        return "rows seen: " + ", ".join(f"{name} {num:,} ({num / total:.1%})" for name, num in self.counts.items())

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return dict(self.counts)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.counts = {str(name): int(number) for name, number in saved.items()}
