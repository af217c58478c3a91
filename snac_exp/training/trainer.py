"""The loop. `Trainer.fit` is the whole story of a run; everything it does once in a while is one named call."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.config.schema import Experiment
from snac_exp.data.batch import Batch
from snac_exp.data.cached_codes import Corpus
from snac_exp.data.loader import make_loader
from snac_exp.data.slices import SliceSampler
from snac_exp.errors import CheckpointError, DivergenceError
from snac_exp.tracking.console import Console
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.tracker import Tracker
from snac_exp.training.checkpoints import CheckpointStore, write_checkpoint
from snac_exp.training.environment import environment, environment_changes
from snac_exp.training.groups import ParameterGroups
from snac_exp.training.plan import EpochPlan, Plan
from snac_exp.training.samples import write_samples
from snac_exp.training.state import TrainState
from snac_exp.training.stop import StopRequest
from snac_exp.training.task import DecoderTask
from snac_exp.training.validation import validate


@dataclass
class StepTimes:
    """Where the time of a step went, in seconds."""

    data_wait: float = 0.0
    compute: float = 0.0


@dataclass
class Trainer:
    """Trains one task over one plan; built by `snac_exp.runs.run`, which owns the parts."""

    experiment: Experiment
    plan: Plan
    task: DecoderTask
    groups: ParameterGroups
    corpus: Corpus
    fabric: Fabric
    folder: RunFolder
    tracker: Tracker
    console: Console
    store: CheckpointStore
    codec: LoadedCodec
    state: TrainState = field(default_factory=TrainState)
    stop: StopRequest = field(default_factory=StopRequest)

    def __post_init__(self) -> None:
        settings = self.experiment.trainer
        groups = [
            {"params": list(parameters.values()), "name": name} for name, parameters in self.groups.groups.items()
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, weight_decay=settings.weight_decay)
        self.optimizer: Any = self.fabric.setup_optimizers(optimizer)
        self.module: Any = None
        self.times = StepTimes()
        self.num_rows = len(self.corpus.train)
        self.num_steps = self.plan.num_steps(self.num_rows)
        self._started = self._last_save = time.monotonic()
        self._saved: tuple[int, int] | None = None
        self._elapsed_before = 0.0

    def fit(self) -> bool:
        """Train from the state's position to the end of the plan.

        Returns:
            True when the plan is done; False when a signal asked to stop and everything was saved.

        Raises:
            DivergenceError: a loss or gradient was not finite; nothing was updated with it and a snapshot was written.
        """
        with self.stop.finishing_steps() as stop:
            if self.state.step == 0 and self.state.epoch == 1:
                self._begin()
            for epoch in self.plan.epochs[self.state.epoch - 1 :]:
                self._enter(epoch)
                for batch in self._batches(epoch):
                    values = self._step(epoch, batch)
                    self._log(epoch, values)
                    self._save_if_due(epoch)
                    if self._asked_to_stop():
                        return self._pause(epoch, stop)
                self._validate(epoch.epoch)
                self._finish(epoch)
                if self._asked_to_stop():
                    return self._pause(epoch, stop)
        return True

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up the state of a checkpoint.

        Raises:
            CheckpointError: it was trained on another codec.
        """
        if saved["codec"]["fingerprint"] != self.codec.fingerprint:
            raise CheckpointError(
                f"{self.folder.path} was trained on codec {saved['codec']['fingerprint'][:12]}, "
                f"not {self.codec.fingerprint[:12]}; set codec.path in its config.yaml to the codec of its training"
            )
        self.task.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = TrainState.from_dict(saved["state"])
        self._elapsed_before = self.state.elapsed_seconds
        self._saved = (self.state.epoch, self.state.step)
        for change in environment_changes(saved["environment"], self._environment()):
            self.console.note(f"resumed in another environment, so figures may differ in the last bits: {change}")

    def _begin(self) -> None:
        """Step 0: a checkpoint to come back to, and the figures before training."""
        if self._saved is None:  # not a resume from this very checkpoint
            self._save(epoch=0, finished_epoch=True)
        self._validate(0)

    def _enter(self, epoch: EpochPlan) -> None:
        """Freeze and thaw for an epoch. The optimizer and its moments live on across phases."""
        self.groups.set_trainable(epoch.trainable)
        if self.module is None or self.fabric.world_size > 1:  # DDP fixes its parameters when it wraps
            self.module = self.fabric.setup_module(self.task)
        self.console.epoch(epoch, self.plan.num_batches(epoch, self.num_rows))

    def _batches(self, epoch: EpochPlan) -> Iterator[Batch]:
        """The rest of an epoch's batches on the device, timing how long the loop waits for each."""
        data = self.corpus.train
        sampler = SliceSampler(
            data.coarse_lengths,
            self.task.model.geometry,
            seed=self.experiment.seed,
            batch_size=epoch.batch_size,
            num_tokens=epoch.num_tokens,
            context_tokens=self.corpus.context_tokens,
            epoch=epoch.epoch,
            start_batch=self.state.batch,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            gain_db=self.experiment.augment.gain_db,
        )
        loader = make_loader(data, sampler, self.experiment.trainer.num_workers, self.fabric.device.type == "cuda")
        batches = iter(loader)
        for _ in range(self.state.batch, self.plan.num_batches(epoch, self.num_rows)):
            started = time.perf_counter()
            batch = next(batches).to(self.fabric.device)
            self.times.data_wait = time.perf_counter() - started
            yield batch

    def _step(self, epoch: EpochPlan, batch: Batch) -> dict[str, float]:
        """One optimiser step; the figures of it, all finite."""
        started = time.perf_counter()
        rates = self.plan.learning_rates(epoch, self.state.batch, self.num_rows)
        for group in self.optimizer.param_groups:
            group["lr"] = rates.get(group["name"], 0.0)
        self.task.seed_noise(self.experiment.seed, "train", self.state.step, self.fabric.global_rank)
        measured = self.module(batch, epoch.loss_weights)
        loss = self.task.objective.total(measured, epoch.loss_weights)
        self.fabric.backward(loss)
        norm: Any = self.fabric.clip_gradients(
            self.module, self.optimizer, max_norm=self.experiment.trainer.grad_clip, error_if_nonfinite=False
        )
        values = _floats({"loss": loss, "grad_norm": norm, **measured})
        self._refuse_non_finite(values, batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.batch += 1
        self.state.step += 1
        self.state.audio_seconds += batch.audio_seconds * self.fabric.world_size
        self.times.compute = time.perf_counter() - started
        return (
            {f"train/{name}": value for name, value in values.items()}
            | {f"lr/{group['name']}": group["lr"] for group in self.optimizer.param_groups if group["name"] in rates}
            | self._speed(batch)
        )

    def _speed(self, batch: Batch) -> dict[str, float]:
        total = self.times.data_wait + self.times.compute
        return {
            "speed/step_seconds": total,
            "speed/data_wait_share": self.times.data_wait / total,
            "speed/audio_seconds_per_second": batch.audio_seconds * self.fabric.world_size / total,
        }

    def _refuse_non_finite(self, values: dict[str, float], batch: Batch) -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if not bad:
            return
        rank = f"_rank{self.fabric.global_rank}" if self.fabric.global_rank else ""
        path = self.store.directory / f"nonfinite_step{self.state.step}{rank}.pt"
        write_checkpoint(path, self._payload() | {"figures": values, "rows": batch.rows.cpu()})
        files = ", ".join(self.corpus.train.path(int(row)) for row in batch.rows[:3])
        raise DivergenceError(
            f"step {self.state.step} of epoch {self.state.epoch}: {', '.join(bad)} not finite; nothing was updated. "
            f"Snapshot: {path}. The batch begins with {files}. Lower lr.phases, or look at these files"
        )

    def _log(self, epoch: EpochPlan, values: dict[str, float]) -> None:
        if self.state.step % self.experiment.trainer.log_every_steps == 0:
            self.tracker.log(values, step=self.state.step, epoch=epoch.epoch, kind="train")
        self.console.step(self.state.step, self.state.batch, values)
        self.folder.heartbeat(step=self.state.step, num_steps=self.num_steps, epoch=epoch.epoch)

    def _validate(self, epoch: int) -> None:
        """Measure the fixed slices, keep the best models, write what one can hear."""
        if epoch % self.experiment.trainer.validate_every_epochs and epoch != len(self.plan.epochs):
            return
        values = validate(self.task, self.corpus, self.experiment, self.fabric)
        self.tracker.log(
            {f"val/{name}": value for name, value in values.items()},
            step=self.state.step,
            epoch=epoch,
            kind="validation",
        )
        self.console.validated(values)
        self._keep_best(values)
        directory = self.folder.samples / f"epoch{epoch:03d}"
        write_samples(self.task, self.corpus, self.experiment, self.fabric, directory)
        self.tracker.log_media(step=self.state.step, epoch=epoch, directory=directory)

    def _keep_best(self, values: dict[str, float]) -> None:
        """Write best_model.pt (weighted objective) and best_model_24k.pt and its like (one head's objective)."""
        for head in ("", *self.task.model.rates):
            name = f"best_model_{head.removeprefix('head_')}.pt" if head else "best_model.pt"
            value = values[f"{head}/objective" if head else "objective"]
            if value < self.state.best.get(head or "weighted", math.inf):
                self.state.best[head or "weighted"] = value
                if not self.fabric.is_global_zero:
                    continue
                payload = self._payload()
                del payload["optimizer"]
                write_checkpoint(self.store.directory / name, payload | {"objective": value})

    def _finish(self, epoch: EpochPlan) -> None:
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
        if self.fabric.world_size == 1:
            return flag
        raised: Any = self.fabric.all_reduce(torch.tensor(float(flag), device=self.fabric.device), reduce_op="sum")
        return bool(raised > 0)

    def _pause(self, epoch: EpochPlan, stop: StopRequest) -> bool:
        if self._saved != (self.state.epoch, self.state.step):
            self._save(epoch=epoch.epoch, finished_epoch=self.state.epoch > epoch.epoch)
        self.console.note(
            f"{stop.signal_name or 'another rank was asked to stop'}: saved at step {self.state.step}; "
            f"go on with: python train.py resume={self.folder.path}"
        )
        return False

    def _save(self, *, epoch: int, finished_epoch: bool, by_time: bool = False) -> None:
        self.state.metrics_position = self.tracker.position()
        self.state.elapsed_seconds = self._elapsed_before + time.monotonic() - self._started
        if self.fabric.is_global_zero:
            self.store.save(
                self._payload(), epoch=epoch, step=self.state.step, finished_epoch=finished_epoch, by_time=by_time
            )
        self.fabric.barrier()
        self._last_save, self._saved = time.monotonic(), (self.state.epoch, self.state.step)

    def _payload(self) -> dict[str, Any]:
        return {
            "state": self.state.to_dict(),
            "model": self.task.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "codec": {"name": self.codec.name, "fingerprint": self.codec.fingerprint, "config": self.codec.config},
            "config": self.folder.values(),
            "environment": self._environment(),
        }

    def _environment(self) -> dict[str, Any]:
        return environment(self.fabric.device, self.experiment.trainer.precision, self.fabric.world_size)


def _floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars to Python in one transfer."""
    stacked = torch.stack([value.detach().float() for value in values.values()])
    return dict(zip(values, stacked.tolist(), strict=True))
