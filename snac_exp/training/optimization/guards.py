"""What stands between a bad batch and the weights: skip outliers, roll back after values that are not finite.

Both are pure bookkeeping over numbers. A trainer asks them what to do and does it; their states are plain values that
belong in a checkpoint.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Self

from snac_exp.config.schema import Guards
from snac_exp.errors import ConfigError, DivergenceError
from snac_exp.metrics.logged import OBJECTIVE
from snac_exp.training.plan import Plan


@dataclass
class GuardState:
    """What a guard remembers; base class for its reading from a checkpoint."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The state of a checkpoint; a field it lacks is an error, never a default."""
        return cls(**{item.name: values[item.name] for item in fields(cls)})


@dataclass
class OutlierState(GuardState):
    """Running mean of the admitted losses and the counts."""

    mean: float = 0.0
    num_admitted: int = 0
    num_in_row: int = 0
    num_skipped: int = 0


@dataclass(frozen=True)
class Verdict:
    """What to do with a step. `reason` is empty or a sentence for the log."""

    admitted: bool
    reason: str = ""


def new_levels_of(plan: Plan) -> frozenset[int]:
    """Steps (counted from 0) of a counted plan from which on the loss is weighed otherwise, or an adversary joins."""
    changed = {
        now.first_step
        for before, now in pairwise(plan.epochs)
        if (before.loss_weights, before.term_weights) != (now.loss_weights, now.term_weights)
    }
    return frozenset(step for step in (*changed, plan.adversary_start) if step)


class OutlierGuard:
    """Skips a step whose loss exceeds `ratio` times the running mean of the losses admitted before it; None skips none.

    A loss is tested before it is averaged in, and a skipped one never is. After `max_in_row` skipped steps the next one
    is admitted whatever its loss: then it is the level that has changed, not the batch. The first `warmup_steps` are
    always admitted. The mean decays by `decay` a step and is corrected for its start at zero (as Adam's moments are).
    At `new_levels` (steps, counted from 0) the loss is another one, see `new_levels_of`, and all begins anew.
    """

    def __init__(
        self,
        ratio: float | None = 3.0,
        warmup_steps: int = 100,
        decay: float = 0.99,
        max_in_row: int = 5,
        state: OutlierState | None = None,
        new_levels: frozenset[int] = frozenset(),
    ) -> None:
        if (ratio is not None and not ratio > 1) or not 0 <= decay < 1 or warmup_steps < 1 or max_in_row < 1:
            raise ConfigError(
                f"outlier guard: ratio={ratio} must exceed 1, 0 <= decay={decay} < 1, "
                f"warmup_steps={warmup_steps} and max_in_row={max_in_row} be at least 1"
            )
        self.ratio, self.warmup_steps, self.decay, self.max_in_row = ratio, warmup_steps, decay, max_in_row
        self.new_levels = new_levels
        self.state = state or OutlierState()

    @classmethod
    def of(cls, guards: Guards, plan: Plan) -> "OutlierGuard":
        """The guard of a recipe; one without a ratio admits every step."""
        own = (guards.outlier_ratio, guards.outlier_warmup_steps)
        return cls(*own, max_in_row=guards.outlier_max_in_row, new_levels=new_levels_of(plan))

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self.state)

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.state = OutlierState.from_dict(values)

    @property
    def level(self) -> float:
        """Running mean of the admitted losses; not a number before the first."""
        num = self.state.num_admitted
        return self.state.mean / (1 - self.decay**num) if num else math.nan

    def judge(self, loss: float, step: int | None = None) -> Verdict:
        """Admit the step of this loss, or skip it; `step` counts from 0.

        Raises:
            ValueError: the loss is not finite, which is no outlier but a failure; see `RollbackPolicy`.
        """
        if not math.isfinite(loss):
            raise ValueError(f"a loss of {loss} is not for the outlier guard")
        if step in self.new_levels:
            self.state = OutlierState(num_skipped=self.state.num_skipped)
        state, level = self.state, self.level
        # Tested against the mean of the losses before it: averaged in first, an outlier would excuse itself.
        if self.ratio is None or state.num_admitted < self.warmup_steps or not loss > self.ratio * level:
            self._admit(loss)
            return Verdict(True)
        observed = f"loss {loss:.4g} is {loss / level:.1f} times the running mean {level:.4g}"
        if state.num_in_row >= self.max_in_row:
            self._admit(loss)
            return Verdict(True, f"{observed}, but {self.max_in_row} steps in a row were skipped: admitted")
        state.num_in_row += 1
        state.num_skipped += 1
        return Verdict(False, f"{observed}: step skipped ({state.num_in_row} in a row, {state.num_skipped} in all)")

    def _admit(self, loss: float) -> None:
        self.state.mean = self.decay * self.state.mean + (1 - self.decay) * loss
        self.state.num_admitted += 1
        self.state.num_in_row = 0


@dataclass
class RollbackState(GuardState):
    """How often a run was rolled back, and the factor on all its learning rates since then."""

    num_rollbacks: int = 0
    rate_factor: float = 1.0


class RollbackPolicy:
    """After a value that is not finite: back to the last good checkpoint with lower learning rates, a few times.

    The state is not part of what is rolled back: it must be written over the restored one, or every attempt would be
    the first.
    """

    def __init__(self, max_rollbacks: int = 3, haircut: float = 0.5, state: RollbackState | None = None) -> None:
        if max_rollbacks < 0 or not 0 < haircut < 1:
            raise ConfigError(
                f"rollback: max_rollbacks={max_rollbacks} must not be negative, 0 < haircut={haircut} < 1"
            )
        self.max_rollbacks, self.haircut = max_rollbacks, haircut
        self.state = state or RollbackState()

    @classmethod
    def of(cls, guards: Guards) -> "RollbackPolicy":
        """The policy of a recipe."""
        return cls(guards.max_rollbacks, guards.rollback_haircut)

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self.state)

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.state = RollbackState.from_dict(values)

    def after_failure(self, what: str, about: str) -> str:
        """Count a failure and lower the rates; returns a sentence for the log.

        Args:
            what: what was not finite, and when. about: where a snapshot lies and what was in the batch.

        Raises:
            DivergenceError: there were `max_rollbacks` already.
        """
        state = self.state
        if state.num_rollbacks >= self.max_rollbacks:
            after = f" after {state.num_rollbacks} rollbacks, rates at {state.rate_factor:g} of the plan" * (
                state.num_rollbacks > 0
            )
            raise DivergenceError(f"{what}{after}. {about}. Lower lr.phases, or look at these files")
        state.num_rollbacks += 1
        # The factor goes on from rollback to rollback: the same rates would diverge at the same place.
        state.rate_factor *= self.haircut
        return (
            f"{what}; rollback {state.num_rollbacks} of {self.max_rollbacks} to the newest checkpoint, learning rates "
            f"now {state.rate_factor:g} of the plan. {about}"
        )

    def rates(self, planned: dict[str, float]) -> dict[str, float]:
        """Planned learning rates with the haircuts so far."""
        return {name: rate * self.state.rate_factor for name, rate in planned.items()}


def require_finite(values: Mapping[str, float], step: int) -> None:
    """The objectives of a validation must be numbers: weights can go astray in a step whose own loss was one.

    Raises:
        DivergenceError: names those that are none.
    """
    of_all = {name: value for name, value in values.items() if not name.startswith("source/")}
    objectives = {name: value for name, value in of_all.items() if name.rpartition("/")[2] == OBJECTIVE.name}
    if bad := [name for name, value in objectives.items() if not math.isfinite(value)]:
        raise DivergenceError(
            f"step {step}: {', '.join(bad)} of the validation not finite: the weights went astray in the steps before. "
            "Lower lr.phases; snac-exp doctor names the last checkpoint that is healthy"
        )
