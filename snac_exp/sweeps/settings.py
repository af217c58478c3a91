"""What a sweep is to find out: the node `sweep` of a config."""

from dataclasses import dataclass
from typing import Literal

Goal = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class SweepSettings:
    """The keys of conf/sweep/NAME.yaml, or their defaults for a sweep without one.

    metric: the name in metrics.jsonl whose best value, by `goal`, ranks the jobs. question: what the sweep answers, in
    words.
    """

    name: str | None = None
    metric: str = "val/objective"
    goal: Goal = "minimize"
    question: str | None = None

    @property
    def sign(self) -> int:
        """1 where less is better, -1 where more is."""
        return 1 if self.goal == "minimize" else -1
