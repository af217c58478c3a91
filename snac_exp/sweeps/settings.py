"""What a sweep is to find out: the node `sweep` of a config."""

from dataclasses import dataclass
from typing import Literal

from snac_exp.errors import ConfigError
from snac_exp.metrics.table import metric_of

Goal = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class SweepSettings:
    """The keys of conf/sweep/NAME.yaml, or their defaults for a sweep without one.

    metric: the name in metrics.jsonl whose best value, by `goal`, ranks the jobs. question: what the sweep answers, in
    words.

    Raises:
        ConfigError: the metric is best closest to 0, which no goal of a sweep says.
    """

    name: str | None = None
    metric: str = "val/objective"
    goal: Goal = "minimize"
    question: str | None = None

    def __post_init__(self) -> None:
        if metric_of(self.metric).better == "closest_to_0":
            raise ConfigError(
                f"sweep.metric={self.metric} is best closest to 0, and a sweep can only minimize or maximize: choose "
                "another metric, for example sweep.metric=val/objective; snac-exp compare sorts by this one"
            )

    @property
    def sign(self) -> int:
        """1 where less is better, -1 where more is."""
        return 1 if self.goal == "minimize" else -1
