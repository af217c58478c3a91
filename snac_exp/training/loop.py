"""The loop. `Trainer.fit` is the whole story of a run; everything it does once in a while is one named call."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric

from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.config.cadence.periodic import Moment, validates, writes_samples
from snac_exp.config.schema import Experiment
from snac_exp.data.mixture.rows_seen import RowsSeen
from snac_exp.errors import DivergenceError
from snac_exp.system.stop_request import StopRequest
from snac_exp.tracking.console import Console
from snac_exp.tracking.profiler import StepProfiler
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.sections import data_metrics, validation_key
from snac_exp.tracking.speed import StepTimer, memory_metrics
from snac_exp.tracking.tracker import Tracker
from snac_exp.training.gradients import StepGradients
from snac_exp.training.optimization.groups import ParameterGroups
from snac_exp.training.optimization.guards import OutlierGuard, RollbackPolicy, require_finite
from snac_exp.training.optimization.levels import LevelGuard
from snac_exp.training.optimization.optimizers import Optimizers, not_finite
from snac_exp.training.optimization.weight_average import WeightAverage
from snac_exp.training.plan import ADVERSARY, EpochPlan, Plan
from snac_exp.training.saving import Saver, Stateful
from snac_exp.training.task import BatchLike, DataModule, Evaluator, Judge, Task


@dataclass
class Trainer:
    """Trains one task over one plan; built by `snac_exp.runs.run`, which owns the parts.

    provenance: the codec or the tokens that the weights belong to; its `fingerprint` must stay the same. alert: is told
    of heads that fall silent. judge: of a search that prunes.
    """

    experiment: Experiment
    plan: Plan
    task: Task
    groups: ParameterGroups
    data_module: DataModule
    evaluator: Evaluator
    fabric: Fabric
    folder: RunFolder
    tracker: Tracker
    console: Console
    store: CheckpointStore
    provenance: dict[str, Any]
    alert: Callable[[str, str], None]
    state: TrainState = field(default_factory=TrainState)
    stop: StopRequest = field(default_factory=StopRequest)
    judge: Judge | None = None

    def __post_init__(self) -> None:
        settings = self.experiment.trainer
        self.optimizers = Optimizers(self.experiment, self.groups, self.task, self.fabric)
        self.average, self.rows_seen = WeightAverage.of(self.task, settings.ema_decay), RowsSeen()
        self.outliers, self.rollbacks = OutlierGuard.of(settings.guards, self.plan), RollbackPolicy.of(settings.guards)
        self.levels = LevelGuard(settings.guards.silence_db, self.experiment.loss, self.alert)
        self.saver = self._saver()
        self.gradients = StepGradients(self.experiment, self.plan, self.task, self.fabric, self.optimizers)
        self.stage: str | None = None  # the one under way
        self._began = 0, 0.0  # number of the epoch under way, and when this process began it
        on_cuda = self.fabric.device.type == "cuda"
        self.timer = self.task.timer = StepTimer(on_cuda)
        recorded = self.experiment.tracker.profile_steps if self.fabric.is_global_zero else None
        self.profiler = StepProfiler(self.folder.path, recorded, self.plan.num_steps, on_cuda, self.console.note)

    def _saver(self) -> Saver:
        """All that has a state, in one list; a resumed run takes up every entry of it."""
        parts: dict[str, Stateful | None] = {
            "model": self.task.model,
            "optimizers": self.optimizers,
            "average": self.average,
            "adversary": self.task.adversary,
            "codebooks": self.task.upkeep,
            "precision": self.fabric.strategy.precision,  # the float16 loss scaler
            "outliers": self.outliers,
            "rollbacks": self.rollbacks,
            "rows_seen": self.rows_seen if self.data_module.source_names else None,
        }
        there = {name: part for name, part in parts.items() if part is not None}
        outputs = (self.folder, self.tracker, self.console, self.store)
        return Saver(self.experiment, self.fabric, *outputs, self.provenance, self.state, there)

    def fit(self) -> bool:
        """Train from the state's position to the end of the plan.

        Returns:
            True when the plan is done; False when a signal or a judge asked to stop and everything was saved.

        Raises:
            DivergenceError: a loss or gradient was not finite, and no rollback is left: nothing was updated with it and
                a snapshot was written; or a validation's objective was not.
        """
        with self.stop.finishing_steps() as stop, self.saver.writing(), self.gradients.compiler.eager():
            while (epoch := self.plan.at(self.state.epoch, self.state.batch)) is not None:
                if self.state.step == 0:  # also after a rollback to there, which took back the metrics of step 0
                    self._begin()
                self._enter(epoch)
                for batch, coming in self._batches(epoch):
                    values = self._step(epoch, batch, coming)
                    if values is None:
                        break  # rolled back to a checkpoint, perhaps of an earlier epoch
                    self._log(epoch, batch, values)
                    # Before the checkpoint: a resume from there has the best models, and does not measure again.
                    self._validate_if_due(Moment(epoch.epoch, self.state.step))
                    self._save_if_due(epoch)
                    self.profiler.after_step(self.state.step)
                    # Several ranks agree within the next step; one need not wait for it.
                    if self._flags["stop"] or (self.fabric.world_size == 1 and self.stop.requested):
                        return self._pause(epoch, stop)
                else:
                    if self.plan.ends_epoch(epoch):
                        self._finish(epoch)
                    if self.gradients.collectives.any(self.stop.requested):  # on any rank: all leave at one step
                        return self._pause(epoch, stop)
        return True

    def _begin(self) -> None:
        """Step 0: a checkpoint to come back to, and the metrics before training."""
        if self.saver.saved_at is None:  # not a resume from this very checkpoint
            self._save(epoch=0, finished_epoch=True)
        self._validate_if_due(Moment(0, 0))

    def _enter(self, epoch: EpochPlan) -> None:
        """Freeze and thaw for an epoch, or a part of one. The optimizer and its moments live on across phases."""
        if self._began[0] != epoch.epoch:
            self._began = epoch.epoch, time.monotonic()
        if self.stage not in (None, epoch.stage) and self.fabric.device.type == "cuda":
            torch.cuda.empty_cache()  # blocks of the former stage's sizes
        self.stage = epoch.stage
        self.groups.set_trainable(epoch.trainable)
        self.task.train_adversary(self._adversary_joined(epoch))
        self.gradients.wrap()
        self.console.epoch(epoch, self.plan.num_batches(epoch.epoch))

    def _batches(self, epoch: EpochPlan) -> Iterator[tuple[BatchLike, BatchLike | None]]:
        """The rest of the epoch's batches on the CPU, or of those of its part, and with several ranks the one behind
        each."""
        fabric, on_gpu = self.fabric, self.fabric.device.type == "cuda"
        loader = self.data_module.batches(epoch, self.state.batch, fabric.global_rank, fabric.world_size, on_gpu)
        batches = iter(loader)
        read: deque[BatchLike] = deque()
        for left in range(epoch.end_batch - self.state.batch, 0, -1):
            with self.timer.lap("data_wait"):
                while len(read) < min(left, 1 if fabric.world_size == 1 else 2):
                    read.append(next(batches))
            yield read.popleft(), read[0] if read else None

    def _step(self, epoch: EpochPlan, batch: BatchLike, coming: BatchLike | None) -> dict[str, float] | None:
        """One optimiser step; the metrics of it, all finite, or None after a rollback."""
        self.optimizers.set_rates(rates := self._learning_rates(epoch))
        # Means over all ranks and flags of any, so all decide alike.
        joined = self._adversary_joined(epoch)
        values, self._flags = self.gradients.compute(epoch, batch, coming, self.state.step, joined, self._own_flags)
        bad = not_finite(values)
        if bad and not self.optimizers.scaler_skips(bad):
            self._roll_back(bad, values, batch)
            return None
        admitted = self._admit(values["loss"])
        if admitted:
            self._update()
        else:
            self.optimizers.leave_out_step()
        self.optimizers.drop_gradients()
        audio_seconds = batch.audio_seconds * self.fabric.world_size
        self.rows_seen.add(self.data_module.rows_by_source(epoch, self.state.batch))
        self.state.batch += 1
        self.state.step += 1  # a skipped step counts: schedules go by position
        self.state.audio_seconds += audio_seconds
        return (
            {f"train/{name}": value for name, value in values.items()}
            | {f"lr/{name}": rate for name, rate in rates.items()}
            | ({} if admitted else {"train/skipped_outlier": 1.0})
            | self.timer.metrics(audio_seconds)
        )

    def _learning_rates(self, epoch: EpochPlan) -> dict[str, float]:
        """The plan's learning rates by group, and the adversary's once it has joined, lowered by rollbacks."""
        planned = self.plan.learning_rates(epoch, self.state.batch)
        if self._adversary_joined(epoch):
            planned |= {ADVERSARY: self.experiment.adversary.lr}
        return self.rollbacks.rates(planned)

    def _adversary_joined(self, epoch: EpochPlan) -> bool:
        """Whether there is an adversary, and its first step has come."""
        return self.plan.loss_weights(epoch, self.state.step).get(ADVERSARY, 0.0) > 0

    def _own_flags(self) -> dict[str, bool]:
        """Whether this rank was asked to stop, and finds it time to save."""
        return {"stop": self.stop.requested, "save": self.saver.is_time()}

    def _admit(self, loss: float) -> bool:
        """Whether the outlier guard admits the step of this loss; what it has to say is logged."""
        verdict = self.outliers.judge(loss, self.state.step)
        if verdict.reason:
            number = self.state.step + 1  # steps are counted when done
            self.console.note(f"step {number}: {verdict.reason}", source="guard", level="warning", step=number)
        return verdict.admitted

    def _update(self) -> None:
        with self.timer.lap("optimizer"):
            self.optimizers.step()
            self.task.end_step(self.gradients.collectives, self.state.step)
            if self.average is not None:
                self.average.update(self.task.model)  # after the step, or it lags one behind

    def _roll_back(self, bad: list[str], values: dict[str, float], batch: BatchLike) -> None:
        """Back to the newest checkpoint with lower rates; the count of rollbacks is not rolled back.

        Raises:
            DivergenceError: no rollback is left, or none was configured.
        """
        files = self.data_module.names(batch)
        path = self.saver.write_failure(values, files)
        where = f"step {self.state.step} of epoch {self.state.epoch}: {', '.join(bad)} not finite; nothing was updated"
        about = f"Snapshot: {path}. The batch begins with {', '.join(files[:3])}"
        text = self.rollbacks.after_failure(where, about)
        self.console.note(text, source="guard", level="error", step=self.state.step)
        self.optimizers.leave_out_step()
        memory = self.rollbacks.state_dict()  # restoring would take back the count, and no rollback were the last
        if not self.saver.restore_newest():
            raise DivergenceError(f"{where}, and there is no checkpoint to go back to. {about}")
        self.rollbacks.load_state_dict(memory)
        self.optimizers.drop_gradients()

    def _log(self, epoch: EpochPlan, batch: BatchLike, values: dict[str, float]) -> None:
        with self.timer.lap("logging"):
            if self.state.step % self.experiment.trainer.log_every_steps == 0:
                progress = self.state.batch / self.plan.num_batches(epoch.epoch)
                ranks = self.fabric.world_size
                data = data_metrics(len(batch) * ranks, batch.audio_seconds * ranks, self.state.audio_seconds, progress)
                logged = values | memory_metrics(self.fabric.device.type == "cuda") | data | self.rows_seen.metrics()
                self.tracker.log(logged, step=self.state.step, epoch=epoch.epoch, kind="train")
            self.console.step(self.state.step, self.state.batch, values)
            left, num_steps = self.console.seconds_left(self.state.step), self.plan.num_steps
            self.folder.heartbeat(step=self.state.step, num_steps=num_steps, epoch=epoch.epoch, seconds_left=left)

    def _validate_if_due(self, moment: Moment) -> None:
        if validates(self.experiment.trainer, moment):
            self._validate(moment)

    def _validate(self, moment: Moment) -> None:
        """Measure fixed data, keep the best models, write what one can hear; with averaged weights where there are."""
        with self.averaged():
            values = self.evaluator.validate(self.fabric)
            logged = {validation_key(name): value for name, value in values.items()}
            self.tracker.log(logged, step=self.state.step, epoch=moment.epoch, kind="validation")
            self.console.validated({name: value for name, value in values.items() if name not in logged})
            require_finite(values, self.state.step)
            self.saver.save_best(values, moment.epoch)  # within `averaged`: the weights that were measured
            if writes_samples(settings := self.experiment.trainer, moment):
                directory = self.folder.samples_at(moment.epoch, self.state.step, settings.validate_every_steps)
                self.evaluator.write_samples(self.fabric, directory)
                self.tracker.log_media(step=self.state.step, epoch=moment.epoch, directory=directory)
        warn = partial(self.console.note, source="guard", level="warning", step=self.state.step)
        self.levels.look(values, self.state.step, warn, is_last=moment.ends_run)
        if self.judge is not None and 0 < self.state.step < self.plan.num_steps:
            self.stop.pruned = self.judge(self.state.step)

    def averaged(self) -> AbstractContextManager[None]:
        """Within it the model has its averaged weights, where the recipe averages."""
        return nullcontext() if self.average is None else self.average.applied(self.task.model)

    def _finish(self, epoch: EpochPlan) -> None:
        is_last = epoch is self.plan.epochs[-1]
        self._validate_if_due(Moment(epoch.epoch, self.state.step, ends_epoch=True, ends_run=is_last))
        if self.rows_seen.counts:
            self.console.note(self.rows_seen.line())
        self.console.took(time.monotonic() - self._began[1], self.saver.elapsed())
        self.state.epoch, self.state.batch = epoch.epoch + 1, 0  # before saving: a resume begins the next epoch
        if epoch.epoch % self.experiment.checkpoint.every_epochs == 0 or is_last:
            self._save(epoch=epoch.epoch, finished_epoch=True)

    def _save_if_due(self, epoch: EpochPlan) -> None:
        if (by_time := self._flags["save"]) or self.state.step % self.experiment.checkpoint.every_steps == 0:
            self._save(epoch=epoch.epoch, finished_epoch=False, by_time=by_time)

    def _pause(self, epoch: EpochPlan, stop: StopRequest) -> bool:
        if self.saver.saved_at != (self.state.epoch, self.state.step):
            self._save(epoch=epoch.epoch, finished_epoch=self.state.epoch > epoch.epoch)
        self.console.note(
            f"{stop.cause or 'another rank was asked to stop'}: saved at step {self.state.step}; "
            f"go on with: python train.py resume={self.folder.path}"
        )
        return False

    def _save(self, *, epoch: int, finished_epoch: bool, by_time: bool = False) -> None:
        with self.timer.lap("checkpoint"):
            self.saver.save(epoch=epoch, finished_epoch=finished_epoch, by_time=by_time)
