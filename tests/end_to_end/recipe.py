"""A phase 12 that takes seconds: four epochs of four steps in three stages; the warm-up ends with epoch 1.

Epoch 1 = steps 1-4, epoch 2 = 5-8, epoch 3 = 9-12, epoch 4 = 13-16; checkpoints every three steps and at every epoch.
Batches are divided in two and the weights are averaged, so that all of this must be resumed too.
"""

from pathlib import Path

RECIPE = [
    "+experiment=phase12_dual_head", "codec=demo", "name=small", "tracker.mode=off", "loss.n_ffts.head_24k=[256,512]",
    "loss.n_ffts.head_48k=[256,512]", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.num_workers=0",
    "trainer.batch_size=2", "trainer.max_steps_per_epoch=4", "trainer.log_every_steps=1", "trainer.num_sample_clips=0",
    "trainer.preflight=[start]", "trainer.summary_utterances=0", "data.validation_slices=2",
    "data.validation_seconds=0.5", "checkpoint.every_steps=3",
    "curriculum.stages={a: {epochs: [1, 2], segment_seconds: 0.3, batch_multiplier: 2.0}, "
    "b: {epochs: [3, 3], segment_seconds: 0.5}, c: {epochs: [4, 4], segment_seconds: 0.6, batch_multiplier: 0.5}}",
    "~curriculum.stages.d", "lr.phases.main.epochs=[2,4]", "lr.phases.main.groups.trunk=1e-3",
    "trainer.accumulation=2", "trainer.ema_decay=0.9",
]  # fmt: skip


def recipe(corpus_dir: Path, output: Path) -> list[str]:
    """Arguments of train.py for the small recipe on a prepared corpus."""
    return [*RECIPE, f"data.cache_dir={corpus_dir / 'prepared' / 'codes_demo'}", f"output_dir={output}"]


CLIP = ["trainer.num_sample_clips=1"]
"""Wavs and a picture of one clip at every validation, which cost as much as all steps."""

SUMMARY = ["trainer.summary_utterances=1"]
"""One utterance measured at the end, which costs as much again."""

ADVERSARY = [
    "adversary=dac", "adversary.start_step=6", "adversary.period_channels=[4,4]", "adversary.band_channels=4",
    "adversary.fft_sizes=[256]", "adversary.periods=[2]",
]  # fmt: skip
"""Small discriminators that join at step 6."""


def run_dir(output: Path) -> Path:
    """The one run folder below `output`."""
    (found,) = (output / "small").iterdir()
    return found
