"""What torch's compiler sees of a run: micro-batches of the plan's own shapes; all else runs as it is written.

Validation, samples, the summary and the last batch of an epoch come in shapes of their own. Compiled, each would cost
as long as a stage's shape, and together they would use up what the compiler keeps of one function.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from snac_exp.training.plan import EpochPlan, Plan

GRAPHS_PER_KIND = 32
"""Most graphs of one kind of epoch: trunk and heads share a function of torch's, each with and without gradients."""


class StepCompiler:
    """Lets a compiled model compute compiled where the plan repeats itself; without `enabled` it does nothing."""

    def __init__(self, enabled: bool, plan: Plan, accumulation: int = 1, rank: int = 0) -> None:
        self._enabled, self._plan = enabled, plan
        self._accumulation, self._rank = accumulation, rank

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Within it nothing is compiled but what `step` lets through, whose graphs are all kept."""
        if not self._enabled:
            yield
            return
        kinds = {(item.stage, item.trainable, *item.loss_weights.values()) for item in self._plan.epochs}
        limits = torch._dynamo.config.patch(
            recompile_limit=max(torch._dynamo.config.recompile_limit, GRAPHS_PER_KIND * len(kinds)),
            accumulated_recompile_limit=max(
                torch._dynamo.config.accumulated_recompile_limit, GRAPHS_PER_KIND * len(kinds)
            ),
        )
        with limits, torch.compiler.set_stance("force_eager"):
            yield

    def step(self, epoch: EpochPlan, num_items: int) -> AbstractContextManager[object]:
        """Around the forward pass of a micro-batch: compiled if full batches of the epoch have such micro-batches."""
        if not self._enabled or num_items not in self.sizes(epoch):
            return nullcontext()
        stance: AbstractContextManager[object] = torch.compiler.set_stance("default")
        return stance

    def micro_batch_size(self, epoch: EpochPlan) -> int:
        """Items of a micro-batch, the last one of a batch excepted."""
        return math.ceil(epoch.batch_size / self._accumulation / self._plan.world_size)

    def sizes(self, epoch: EpochPlan) -> set[int]:
        """Items of the micro-batches of this rank's part of a full batch: one size, or two where it leaves a rest."""
        size, ranks = self.micro_batch_size(epoch), self._plan.world_size
        share = epoch.batch_size * (self._rank + 1) // ranks - epoch.batch_size * self._rank // ranks
        return {size, share % size} - {0}
