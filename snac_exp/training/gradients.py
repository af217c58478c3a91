"""The gradients of one step: over micro-batches and ranks, clipped, with the means of all that is measured."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.config.schema import Experiment
from snac_exp.training.collectives import Collectives
from snac_exp.training.compiling import StepCompiler
from snac_exp.training.optimization.accumulation import accumulate, shares
from snac_exp.training.optimization.optimizers import Optimizers
from snac_exp.training.plan import EpochPlan, Plan
from snac_exp.training.task import BatchLike, Task


class StepGradients:
    """Computes them for one task; `wrap` comes first, and again whenever other parameters train."""

    def __init__(self, experiment: Experiment, plan: Plan, task: Task, fabric: Fabric, optimizers: Optimizers) -> None:
        self._experiment, self._plan, self._task = experiment, plan, task
        self._fabric, self._optimizers = fabric, optimizers
        self.collectives = Collectives(fabric)
        settings = experiment.trainer
        self.compiler = StepCompiler(settings.compile, plan, settings.accumulation, fabric.global_rank)
        self._module: Any = None  # the task as Fabric wraps it
        self._ahead: tuple[BatchLike, float] | None = None  # the batch to come and its weight over all ranks

    def wrap(self) -> None:
        """Take note of which parameters train now."""
        if self._module is None or self._fabric.world_size > 1:  # DDP fixes its parameters when it wraps
            self._module = self._fabric.setup_module(self._task)

    def compute(
        self,
        epoch: EpochPlan,
        batch: BatchLike,
        coming: BatchLike | None,
        step: int,
        joined: bool,
        flags: Callable[[], dict[str, bool]],
    ) -> tuple[dict[str, float], dict[str, bool]]:
        """Leave the clipped gradients of a batch with the parameters.

        Args:
            batch, coming: this batch on the CPU, and the one after it where ranks tell each other of it in time.
            joined: whether the adversary takes part. flags: as this rank sees them, asked for as late as possible.

        Returns:
            Means over all ranks of its terms and loss, its norms, and whether any rank raised a flag.
        """
        task, fabric, timer = self._task, self._fabric, self._task.timer
        weights = self._plan.loss_weights(epoch, step)  # 0: measured, not trained
        changed = task.begin_step(step)
        if task.train_adversary(joined) or changed:
            self.wrap()
        # By position, not by history: a resumed run draws the same noise.
        task.seed_noise(self._experiment.seed, "train", step, fabric.global_rank)
        # Weighed on the CPU, since a number read from a GPU waits for all that it has to do.
        scored = self._weights(epoch, batch)
        parts = batch.to(fabric.device).micro_batches(self.compiler.micro_batch_size(epoch))
        means = accumulate(
            zip(shares(scored, self._total(batch, scored), fabric.world_size), parts, strict=True),
            timer.timed("forward", partial(self._forward, epoch, weights)),
            timer.timed("loss", partial(task.total, weights=weights)),
            timer.timed("backward", fabric.backward),
            self._unsynchronised,
        )
        with timer.lap("optimizer"):
            norms = self._optimizers.clip(self._module)
            weight = 0.0 if coming is None else sum(self._weights(epoch, coming))
            values, raised, total = self.collectives.step(means | norms, flags(), weight)
        self._ahead = None if coming is None else (coming, total)
        return values, raised

    def _weights(self, epoch: EpochPlan, batch: BatchLike) -> list[float]:
        """What each micro-batch of a batch on the CPU scores."""
        return [self._task.weight(part) for part in batch.micro_batches(self.compiler.micro_batch_size(epoch))]

    def _total(self, batch: BatchLike, scored: list[float]) -> float:
        """What a batch scores on all ranks, which mostly is known from the step before."""
        if self._ahead is not None and self._ahead[0] is batch:
            return self._ahead[1]
        return self.collectives.sum(sum(scored))

    def _forward(self, epoch: EpochPlan, weights: Mapping[str, float], part: BatchLike) -> dict[str, Tensor]:
        """Terms of a micro-batch, a scalar each."""
        with self.compiler.step(epoch, len(part)):
            terms: dict[str, Tensor] = self._module(part, weights)
        return terms

    def _unsynchronised(self, more_to_come: bool) -> AbstractContextManager[None]:
        """Around a micro-batch: ranks exchange gradients at the last one only."""
        if self._fabric.device.type == "cuda" and self._experiment.trainer.compile:
            # Else outputs of the last micro-batch, in memory that graphs use again, may be overwritten.
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._fabric.no_backward_sync(self._module) if more_to_come else nullcontext()
