"""What the loop costs beside its steps: the trainer's own work, a checkpoint, waiting for data, validation, memory.

    python -m benchmarks.loop [--pairs 5]

The demo's recipe on a small synthetic corpus, made in a temporary folder; the bundled codec, batches of 4.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from benchmarks.harness import Figure, compare, options, record
from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.tracking.console import Console
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.tracker import Tracker
from snac_exp.training.build import build
from snac_exp.training.codec.validation import validate
from snac_exp.training.loop import Trainer
from snac_exp.training.plan import EpochPlan, unroll
from snac_exp.training.setup import TrainingSetup

STEPS, EPOCH = 8, 2
RECIPE = [
    "+experiment=demo",
    "tracker.mode=off",
    "trainer.batch_size=4",
    "data.num_minutes=3",
    "checkpoint.every_steps=100000",
    "data.num_train_voices=6",
]


def main() -> None:
    """Measure and record."""
    settings = options(__doc__)
    with tempfile.TemporaryDirectory() as name:
        trainer, setup = make(Path(name))
        epoch = trainer.plan.epochs[EPOCH - 1]
        trainer._enter(epoch)
        trainer.saver.saved_at = (epoch.epoch, 1)
        figures = {"trainer_overhead": overhead(trainer, epoch, settings.pairs)}
        figures["data_wait"] = waiting(trainer, epoch)
        figures |= checkpoint(trainer, epoch)
        figures["validation"] = validation(trainer, setup)
        figures["encoder_share"] = encoder_share(setup, Path(name))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures["peak_memory"] = Figure("peak resident memory of the demo's steps and validation", round(peak, 2), "GiB")
    record(figures, settings.results)


def make(folder: Path) -> tuple[Trainer, TrainingSetup]:
    """A trainer as train.py makes it, in a run folder of its own."""
    overrides = hydra_overrides([*RECIPE, f"data.directory={folder / 'data'}", f"output_dir={folder / 'out'}"])
    experiment, values = compose_experiment(overrides)
    run = RunFolder.create(values, overrides)
    fabric = Fabric(accelerator="cpu", devices=1)
    setup = build(experiment)
    plan = unroll(experiment, setup.geometry, 1).counted(setup.data_module.num_items)
    tracker = Tracker.open(
        run.path, mode="off", project="", entity=None, run_name="", tags=[], config=values, resume_at=None
    )
    console = Console(run.path, num_epochs=plan.num_epochs, num_steps=plan.num_steps, out=open("/dev/null", "w"))  # noqa: SIM115
    run.checkpoints.mkdir(exist_ok=True)
    store = CheckpointStore(run.checkpoints, 1, 1)
    made = Trainer(
        experiment, plan, setup.task, setup.groups, setup.data_module, setup.evaluator, fabric, run, tracker, console,
        store, setup.provenance, lambda _title, _text: None,
    )  # fmt: skip
    return made, setup


def overhead(trainer: Trainer, epoch: EpochPlan, pairs: int) -> Figure:
    """The loop's body over the first batches of an epoch, and the same steps written by hand; both load their data."""
    optimizer = trainer.optimizers.by_name["optimizer"]
    weights = trainer.plan.loss_weights(epoch, 1)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def by_hand() -> None:
        loader = trainer.data_module.batches(epoch, 0, 0, 1, False)
        for _, batch in zip(range(STEPS), loader, strict=False):
            trainer.task.seed_noise(0, "train", 0)
            total = trainer.task.total(trainer.task(batch, weights), weights)
            total.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total.item()

    run_loop(trainer, epoch)  # enters the phase and freezes what it freezes
    found = compare(lambda: run_loop(trainer, epoch), by_hand, pairs, 1)
    title = "Trainer.fit against a loop written by hand, share of time more"
    return Figure(title, round(found.ratio - 1, 4), "", "at_most", 0.03, found.details() | {"steps": STEPS})


class EnoughError(Exception):
    """The first steps of an epoch are done."""


def run_loop(trainer: Trainer, epoch: EpochPlan) -> list[tuple[float, float]]:
    """Trainer.fit over the first steps of an epoch; of each the seconds of all of it and of waiting for its batch."""
    marks: list[tuple[float, float]] = []
    original = trainer._batches

    def few(epoch: EpochPlan) -> Iterator[Any]:
        batches = original(epoch)
        while True:
            asked = time.perf_counter()
            if len(marks) == STEPS:
                marks.append((asked, 0.0))
                raise EnoughError
            batch = next(batches)
            marks.append((asked, time.perf_counter() - asked))
            yield batch

    trainer._batches = few  # type: ignore[method-assign]
    trainer.state.load_state_dict(TrainState(epoch=epoch.epoch, step=1).state_dict())
    try:
        trainer.fit()
    except EnoughError:
        pass
    finally:
        trainer._batches = original  # type: ignore[method-assign]
    return [(after[0] - before[0], before[1]) for before, after in pairwise(marks)]


def waiting(trainer: Trainer, epoch: EpochPlan) -> Figure:
    """Share of the step that the loop waits for data, read in the training process as the demo does."""
    steps = [run_loop(trainer, epoch) for _ in range(3)]
    share = statistics.median(wait / total for part in steps for total, wait in part)
    return Figure("share of the step waiting for data, demo", round(share, 4), "", "at_most", 0.02)


def checkpoint(trainer: Trainer, epoch: EpochPlan) -> dict[str, Figure]:
    """How long the loop stands still for a save, and how much slower the steps are while the thread writes."""

    def total() -> float:
        return sum(seconds for seconds, _ in run_loop(trainer, epoch))

    usual = statistics.median(total() / STEPS for _ in range(3))
    stood, slowed = [], []
    for _ in range(3):
        started = time.perf_counter()
        trainer._save(epoch=epoch.epoch, finished_epoch=False)
        stood.append(time.perf_counter() - started)
        slowed.append(max(total() - STEPS * usual, 0.0))
        trainer.saver.writer.wait()
    still, extra = statistics.median(stood), statistics.median(slowed)
    details = {"stand_still_seconds": round(still, 4), "step_seconds": round(usual, 4), "clock": "wall"}
    share = (still + extra) / (100 * usual)
    return {
        "checkpoint_still": Figure(
            "checkpoint, stand-still of the loop in steps", round(still / usual, 4), "steps", "at_most", 1.0, details
        ),
        "checkpoint_share": Figure(
            "checkpoints, share of all time at one per 100 steps", round(share, 4), "", "at_most", 0.01,
            details | {"slower_seconds": round(extra, 4)},
        ),
    }  # fmt: skip


def validation(trainer: Trainer, setup: TrainingSetup) -> Figure:
    """Audio-seconds per second of a validation, and against the same slices one by one in a plain loop."""
    splits = setup.splits
    total = sum(spec.num_tokens for spec in splits.validation_specs) * 2048 / 24_000

    @torch.no_grad()
    def plain() -> None:
        weights = {head: 1.0 for head in trainer.task.model.rates}  # type: ignore[union-attr]
        from snac_exp.data.slices.batch import collate

        for spec in splits.validation_specs:
            trainer.task(collate([splits.validation[spec]]), weights)

    def ours() -> None:
        validate(setup.task, splits, trainer.experiment, trainer.fabric)  # type: ignore[arg-type]

    found = compare(plain, ours, 3, 0)
    speed = total / statistics.median(found.ours)
    details = found.details() | {"against_plain_loop": round(found.ratio, 3)}
    return Figure("validation", round(speed, 1), "audio-seconds per second", details=details)


def encoder_share(setup: TrainingSetup, folder: Path) -> Figure:
    """Share of caching's wall time that is spent in the encoder."""
    (prepared,) = (folder / "data").glob("*/prepared")
    codec = setup.codec
    assert codec is not None
    inside, encode = [0.0], codec.model.encode

    def timed(audio: torch.Tensor) -> object:
        started = time.perf_counter()
        try:
            return encode(audio)
        finally:
            inside[0] += time.perf_counter() - started

    codec.model.encode = timed
    started = time.perf_counter()
    cache_codes(Manifest.read(prepared), codec, folder / "again")
    share = inside[0] / (time.perf_counter() - started)
    return Figure("code caching, share of wall time in the encoder", round(share, 3), "", "at_least", 0.85)


if __name__ == "__main__":
    main()
