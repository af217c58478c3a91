"""The loop. `Trainer.fit` is the whole story of a run; everything it does once in a while is one named call."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.checkpoints.background_writer import Background, snapshot
from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore, write_checkpoint
from snac_exp.config.schema import Experiment
from snac_exp.errors import CheckpointError, DivergenceError
from snac_exp.system.environment import environment, environment_changes
from snac_exp.system.stop_request import StopRequest
from snac_exp.tracking.console import Console
from snac_exp.tracking.profiler import StepProfiler
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.sections import data_figures
from snac_exp.tracking.speed import StepTimer, memory_figures
from snac_exp.tracking.tracker import Tracker
from snac_exp.training.accumulation import accumulate, shares
from snac_exp.training.groups import ParameterGroups
from snac_exp.training.guards import OutlierGuard, RollbackPolicy
from snac_exp.training.plan import ADVERSARY, EpochPlan, Plan
from snac_exp.training.task import BatchLike, DataModule, Evaluator, Task
from snac_exp.training.weight_average import WeightAverage


@dataclass
class Trainer:
    """Trains one task over one plan; built by `snac_exp.runs.run`, which owns the parts.

    provenance: the codec or the tokens that the weights belong to; its `fingerprint` must stay the same.
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
    state: TrainState = field(default_factory=TrainState)
    stop: StopRequest = field(default_factory=StopRequest)

    def __post_init__(self) -> None:
        settings = self.experiment.trainer
        self.optimizers = _optimizers(self.experiment, self.groups, self.task, self.fabric)
        self.average = None if settings.ema_decay is None else WeightAverage(self.task.model, settings.ema_decay)
        self.outliers, self.rollbacks = OutlierGuard.of(settings.guards), RollbackPolicy.of(settings.guards)
        self.writer = Background()
        self.module: Any = None
        self.num_steps = self.plan.num_steps(self.data_module.num_items)
        on_cuda = self.fabric.device.type == "cuda"
        self.timer = self.task.timer = StepTimer(on_cuda)
        recorded = self.experiment.tracker.profile_steps if self.fabric.is_global_zero else None
        self.profiler = StepProfiler(self.folder.path, recorded, self.num_steps, on_cuda, self.console.note)
        self._started = self._last_save = time.monotonic()
        self._saved: tuple[int, int] | None = None
        self._elapsed_before = 0.0

    def fit(self) -> bool:
        """Train from the state's position to the end of the plan.

        Returns:
            True when the plan is done; False when a signal asked to stop and everything was saved.

        Raises:
            DivergenceError: a loss or gradient was not finite, and no rollback is left; nothing was updated with it and
                a snapshot was written.
        """
        with self.stop.finishing_steps() as stop, self._writing():
            while self.state.epoch <= len(self.plan.epochs):
                if self.state.step == 0:  # also after a rollback to there, which took back the figures of step 0
                    self._begin()
                epoch = self.plan.epochs[self.state.epoch - 1]
                self._enter(epoch)
                for batch in self._batches(epoch):
                    values = self._step(epoch, batch)
                    if values is None:
                        break  # rolled back to a checkpoint, perhaps of an earlier epoch
                    self._log(epoch, batch, values)
                    self._save_if_due(epoch)
                    self.profiler.after_step(self.state.step)
                    if self._asked_to_stop():
                        return self._pause(epoch, stop)
                else:
                    self._validate(epoch.epoch)
                    self._finish(epoch)
                    if self._asked_to_stop():
                        return self._pause(epoch, stop)
        return True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Checkpoints are written beside the loop; whatever ends it, the last one is complete then."""
        try:
            yield
        finally:
            self.writer.wait()

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up the state of a checkpoint.

        Raises:
            CheckpointError: it was trained on another codec or other tokens, or with other optimizers or averages.
        """
        if saved["codec"]["fingerprint"] != self.provenance["fingerprint"]:
            raise CheckpointError(
                f"{self.folder.path} was trained on codec {saved['codec']['fingerprint'][:12]}, "
                f"not {self.provenance['fingerprint'][:12]}; set codec.path in its config.yaml to that codec"
            )
        self.task.model.load_state_dict(saved["model"])
        if self.task.adversary is not None:
            self.task.adversary.load_state_dict(saved["adversary_model"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(saved[name])
        if self.average is not None:
            self.average.load_state_dict(saved["ema"])
        self.fabric.strategy.precision.load_state_dict(saved["precision"])
        self.state = TrainState.from_dict(saved["state"])
        self.outliers.restore(self.state.outliers)
        self.rollbacks.restore(self.state.rollbacks)
        self._elapsed_before, self._started = self.state.elapsed_seconds, time.monotonic()
        self._saved = (self.state.epoch, self.state.step)
        for change in environment_changes(saved["environment"], self._environment()):
            text = f"resumed in another environment, so figures may differ in the last bits: {change}"
            self.console.note(text, source="resume", level="warning", step=self.state.step)

    def _begin(self) -> None:
        """Step 0: a checkpoint to come back to, and the figures before training."""
        if self._saved is None:  # not a resume from this very checkpoint
            self._save(epoch=0, finished_epoch=True)
        self._validate(0)

    def _enter(self, epoch: EpochPlan) -> None:
        """Freeze and thaw for an epoch. The optimizer and its moments live on across phases."""
        self._epoch_started = time.monotonic()
        self.groups.set_trainable(epoch.trainable)
        self._set_adversary(epoch)
        if self.module is None or self.fabric.world_size > 1:  # DDP fixes its parameters when it wraps
            self.module = self.fabric.setup_module(self.task)
        self._span = self.plan.phase_span(epoch, self.data_module.num_items)
        self.console.epoch(epoch, self.plan.num_batches(epoch, self.data_module.num_items))

    def _set_adversary(self, epoch: EpochPlan) -> bool:
        """Let the adversary learn from its first step on; True if that changed something."""
        joined = self.plan.loss_weights(epoch, self.state.step).get(ADVERSARY, 0.0) > 0
        changed = False
        for parameter in self.task.adversary.parameters() if self.task.adversary is not None else ():
            changed |= parameter.requires_grad != joined
            parameter.requires_grad_(joined)
        return changed

    def _batches(self, epoch: EpochPlan) -> Iterator[BatchLike]:
        """The rest of an epoch's batches on the device."""
        fabric, on_gpu = self.fabric, self.fabric.device.type == "cuda"
        loader = self.data_module.batches(epoch, self.state.batch, fabric.global_rank, fabric.world_size, on_gpu)
        batches = iter(loader)
        for _ in range(self.state.batch, self.plan.num_batches(epoch, self.data_module.num_items)):
            with self.timer.lap("data_wait"):
                batch = next(batches).to(fabric.device)
            yield batch

    def _step(self, epoch: EpochPlan, batch: BatchLike) -> dict[str, float] | None:
        """One optimiser step; the figures of it, all finite, or None after a rollback."""
        rates = self._set_rates(epoch)
        values = self._gradients(epoch, batch)
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad and not self._scaler_skips(bad):
            self._roll_back(bad, values, batch)
            return None
        verdict = self.outliers.judge(values["loss"])
        if verdict.reason:
            number = self.state.step + 1  # steps are counted when done
            text = f"step {number}: {verdict.reason}"
            self.console.note(text, source="guard", level="warning", step=number)
        if verdict.admitted:
            self._update()
        else:
            self._leave_out()
        self._drop_gradients()
        self.state.batch += 1
        self.state.step += 1
        self.state.audio_seconds += batch.audio_seconds * self.fabric.world_size
        return (
            {f"train/{name}": value for name, value in values.items()}
            | {f"lr/{name}": rate for name, rate in rates.items()}
            | ({} if verdict.admitted else {"train/skipped_outlier": 1.0})
            | self.timer.figures(batch.audio_seconds * self.fabric.world_size)
        )

    def _set_rates(self, epoch: EpochPlan) -> dict[str, float]:
        """Put the plan's learning rates, lowered by rollbacks, into the optimizers."""
        rates = self.rollbacks.rates(self.plan.learning_rates(epoch, self.state.batch, self._span))
        for group in self.optimizers["optimizer"].param_groups:
            group["lr"] = rates.get(group["name"], 0.0)
        if ADVERSARY in self.optimizers and self.plan.loss_weights(epoch, self.state.step)[ADVERSARY] > 0:
            (group,) = self.optimizers[ADVERSARY].param_groups
            rates |= self.rollbacks.rates({ADVERSARY: self.experiment.adversary.lr})
            group["lr"] = rates[ADVERSARY]
        return rates

    def _gradients(self, epoch: EpochPlan, batch: BatchLike) -> dict[str, float]:
        """Gradients of the whole batch, over micro-batches and ranks, clipped; its mean terms, loss and norms."""
        task, fabric, settings = self.task, self.fabric, self.experiment.trainer
        weights = self.plan.loss_weights(epoch, self.state.step)
        if self._set_adversary(epoch) and fabric.world_size > 1:
            self.module = fabric.setup_module(task)
        task.seed_noise(self.experiment.seed, "train", self.state.step, fabric.global_rank)
        parts = batch.micro_batches(math.ceil(epoch.batch_size / settings.accumulation / fabric.world_size))
        scored = [task.weight(part) for part in parts]
        means = accumulate(
            zip(shares(scored, self._sum_of_ranks(sum(scored)), fabric.world_size), parts, strict=True),
            self.timer.timed("forward", lambda part: self.module(part, weights)),
            self.timer.timed("loss", partial(task.total, weights=weights)),
            self.timer.timed("backward", self.fabric.backward),
            self._unsynchronised,
        )
        with self.timer.lap("optimizer"):
            norms = {
                "grad_norm" if name == "optimizer" else f"{name}/grad_norm": self._clipped(name)
                for name, optimizer in self.optimizers.items()
                if any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])
            }
            return self._floats(means | norms)

    def _unsynchronised(self, more_to_come: bool) -> AbstractContextManager[None]:
        """Around a micro-batch: ranks exchange gradients at the last one only."""
        if self.fabric.device.type == "cuda" and self.experiment.trainer.compile:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self.fabric.no_backward_sync(self.module) if more_to_come else nullcontext()

    def _clipped(self, name: str) -> Tensor:
        """Scale an optimizer's gradients down to the clip; their norm before that."""
        limit = self.experiment.adversary.grad_clip if name == ADVERSARY else self.experiment.trainer.grad_clip
        norm: Any = self.fabric.clip_gradients(
            self.module, self.optimizers[name], max_norm=limit, error_if_nonfinite=False
        )
        return torch.as_tensor(norm, device=self.fabric.device)

    def _update(self) -> None:
        with self.timer.lap("optimizer"):
            for optimizer in self.optimizers.values():
                optimizer.step()
            if self.average is not None:
                self.average.update(self.task.model)

    def _leave_out(self) -> None:
        """Tell the float16 scaler that this step is not made, or it would refuse to unscale the next gradients."""
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            scaler.update()

    def _drop_gradients(self) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def _scaler_skips(self, bad: Sequence[str]) -> bool:
        """Whether only gradients overflowed in float16: the scaler lowers its factor and leaves the step out."""
        scaled = self.experiment.trainer.precision == "16-mixed"
        return scaled and all(name.endswith("grad_norm") for name in bad)

    def _roll_back(self, bad: Sequence[str], values: dict[str, float], batch: BatchLike) -> None:
        """Back to the newest checkpoint with lower rates; the count of rollbacks is not rolled back.

        Raises:
            DivergenceError: no rollback is left, or none was configured.
        """
        rank = f"_rank{self.fabric.global_rank}" if self.fabric.global_rank else ""
        path = self.store.directory / f"nonfinite_step{self.state.step}{rank}.pt"
        files = self.data_module.names(batch)
        write_checkpoint(path, self._payload() | {"figures": values, "files": files})
        where = f"step {self.state.step} of epoch {self.state.epoch}: {', '.join(bad)} not finite; nothing was updated"
        about = f"Snapshot: {path}. The batch begins with {', '.join(files[:3])}"
        text = self.rollbacks.after_failure(where, about)
        self.console.note(text, source="guard", level="error", step=self.state.step)
        self._leave_out()
        memory = self.rollbacks.state.to_dict()
        self.writer.wait()
        self.fabric.barrier()  # the newest checkpoint is complete, for all ranks
        saved = self.store.load_latest(self.fabric.device)
        if saved is None:
            raise DivergenceError(f"{where}, and there is no checkpoint to go back to. {about}")
        self.restore(saved)
        self.rollbacks.restore(memory)
        self._drop_gradients()
        self.tracker.rewind(self.state.metrics_position)

    def _log(self, epoch: EpochPlan, batch: BatchLike, values: dict[str, float]) -> None:
        with self.timer.lap("logging"):
            if self.state.step % self.experiment.trainer.log_every_steps == 0:
                share = self.state.batch / self.plan.num_batches(epoch, self.data_module.num_items)
                ranks = self.fabric.world_size
                data = data_figures(len(batch) * ranks, batch.audio_seconds * ranks, self.state.audio_seconds, share)
                logged = values | memory_figures(self.fabric.device.type == "cuda") | data
                self.tracker.log(logged, step=self.state.step, epoch=epoch.epoch, kind="train")
            self.console.step(self.state.step, self.state.batch, values)
            left = self.console.seconds_left(self.state.step)
            self.folder.heartbeat(step=self.state.step, num_steps=self.num_steps, epoch=epoch.epoch, seconds_left=left)

    def _validate(self, epoch: int) -> None:
        """Measure fixed data, keep the best models, write what one can hear; with averaged weights where there are."""
        if epoch % self.experiment.trainer.validate_every_epochs and epoch != len(self.plan.epochs):
            return
        with self.averaged():
            values = self.evaluator.validate(self.fabric)
            codebooks = {name: value for name, value in values.items() if name.startswith("codebook/")}
            measured = {name: value for name, value in values.items() if name not in codebooks}
            self.tracker.log(
                {f"val/{name}": value for name, value in measured.items()} | codebooks,
                step=self.state.step,
                epoch=epoch,
                kind="validation",
            )
            self.console.validated(measured)
            self._keep_best(values, epoch)
            if self.evaluator.write_samples(self.fabric, self.folder, epoch):
                directory = self.folder.samples / f"epoch{epoch:03d}"
                self.tracker.log_media(step=self.state.step, epoch=epoch, directory=directory)

    def averaged(self) -> AbstractContextManager[None]:
        """Within it the model has its averaged weights, where the recipe averages."""
        return nullcontext() if self.average is None else self.average.applied(self.task.model)

    def _keep_best(self, values: dict[str, float], epoch: int) -> None:
        """Write best_model.pt (the objective) and best_model_24k.pt and its like (one head's objective)."""
        for key in (name for name in values if name.rpartition("/")[2] == "objective"):
            part = key.rpartition("/")[0]
            name = f"best_model_{part.removeprefix('head_')}.pt" if part else "best_model.pt"
            if values[key] < self.state.best.get(part or "weighted", math.inf):
                self.state.best[part or "weighted"] = values[key]
                if not self.fabric.is_global_zero:
                    continue
                best = {"state", "model", "codec", "config", "environment"}  # what is needed to use it, not to resume
                payload = {item: value for item, value in self._payload().items() if item in best}
                write_checkpoint(self.store.directory / name, payload | {"objective": values[key]})
                if not part:
                    aliases = ("best", f"epoch-{epoch}")
                    self.tracker.log_model(
                        self.store.directory / name, step=self.state.step, epoch=epoch, aliases=aliases
                    )

    def _finish(self, epoch: EpochPlan) -> None:
        now = time.monotonic()
        self.console.took(now - self._epoch_started, self._elapsed_before + now - self._started)
        self.state.epoch, self.state.batch = epoch.epoch + 1, 0
        if epoch.epoch % self.experiment.checkpoint.every_epochs == 0 or epoch is self.plan.epochs[-1]:
            self._save(epoch=epoch.epoch, finished_epoch=True)

    def _save_if_due(self, epoch: EpochPlan) -> None:
        settings = self.experiment.checkpoint
        by_time = self._any_rank(time.monotonic() - self._last_save >= settings.every_minutes * 60)
        if by_time or self.state.step % settings.every_steps == 0:
            self._save(epoch=epoch.epoch, finished_epoch=False, by_time=by_time)

    def _asked_to_stop(self) -> bool:
        """Whether any rank was asked: signals reach ranks in different steps, and all must leave after the same."""
        return self._any_rank(self.stop.requested)

    def _any_rank(self, flag: bool) -> bool:
        """Whether a flag is up on any rank; all ranks must ask at the same point."""
        return self._sum_of_ranks(float(flag)) > 0

    def _sum_of_ranks(self, value: float) -> float:
        if self.fabric.world_size == 1:
            return value
        local = torch.tensor(value, device=self.fabric.device, dtype=torch.float64)
        summed: Any = self.fabric.all_reduce(local, reduce_op="sum")
        return float(summed)

    def _floats(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Scalars, averaged over the ranks, to Python in one transfer."""
        stacked: Any = torch.stack([value.detach().float() for value in values.values()])
        if self.fabric.world_size > 1:
            stacked = self.fabric.all_reduce(stacked, reduce_op="mean")
        return dict(zip(values, stacked.tolist(), strict=True))

    def _pause(self, epoch: EpochPlan, stop: StopRequest) -> bool:
        if self._saved != (self.state.epoch, self.state.step):
            self._save(epoch=epoch.epoch, finished_epoch=self.state.epoch > epoch.epoch)
        self.console.note(
            f"{stop.signal_name or 'another rank was asked to stop'}: saved at step {self.state.step}; "
            f"go on with: python train.py resume={self.folder.path}"
        )
        return False

    def _save(self, *, epoch: int, finished_epoch: bool, by_time: bool = False) -> None:
        with self.timer.lap("checkpoint"):
            self._hand_over(epoch=epoch, finished_epoch=finished_epoch, by_time=by_time)

    def _hand_over(self, *, epoch: int, finished_epoch: bool, by_time: bool) -> None:
        """Copy the state and have it written beside the loop."""
        self.state.metrics_position = self.tracker.position()
        self.state.elapsed_seconds = self._elapsed_before + time.monotonic() - self._started
        if self.fabric.is_global_zero:
            self.writer.wait()  # before the copy: there is never more than one
            save = partial(self.store.save, snapshot(self._payload()), epoch=epoch, step=self.state.step)
            self.writer.run(partial(save, finished_epoch=finished_epoch, by_time=by_time))
        self._last_save, self._saved = time.monotonic(), (self.state.epoch, self.state.step)

    def _payload(self) -> dict[str, Any]:
        self.state.outliers, self.state.rollbacks = self.outliers.state.to_dict(), self.rollbacks.state.to_dict()
        adversary, average = self.task.adversary, self.average
        return {
            "state": self.state.to_dict(),
            "model": self.task.model.state_dict(),
            **{name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            **({} if adversary is None else {"adversary_model": adversary.state_dict()}),
            **({} if average is None else {"ema": average.state_dict()}),
            "precision": self.fabric.strategy.precision.state_dict(),
            "codec": self.provenance,
            "config": self.folder.values(),
            "environment": self._environment(),
        }

    def _environment(self) -> dict[str, Any]:
        settings = self.experiment.trainer
        return environment(self.fabric.device, settings.precision, self.fabric.world_size, settings.compile)


def _optimizers(experiment: Experiment, groups: ParameterGroups, task: Task, fabric: Fabric) -> dict[str, Any]:
    """AdamW over the recipe's groups, and the adversary's own where there is one."""
    settings = experiment.trainer
    named = [{"params": list(parameters.values()), "name": name} for name, parameters in groups.groups.items()]
    optimizer = torch.optim.AdamW(
        named, lr=0.0, betas=settings.betas, weight_decay=settings.weight_decay, fused=settings.fused_optimizer or None
    )
    optimizers = {"optimizer": fabric.setup_optimizers(optimizer)}
    if task.adversary is not None:
        own = experiment.adversary
        rival = torch.optim.AdamW(task.adversary.parameters(), lr=0.0, betas=own.betas, weight_decay=own.weight_decay)
        optimizers[ADVERSARY] = fabric.setup_optimizers(rival)
    return optimizers
