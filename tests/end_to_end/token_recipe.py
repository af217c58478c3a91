"""Runs 1 to 3 of the token model in seconds, on the tokens that the demo codec makes of the demo speech."""

from pathlib import Path

SMALL = [
    "codec=demo", "data=code_cache_tokens", "name=tokens", "tracker.mode=off", "trainer.accelerator=cpu",
    "trainer.num_threads=1", "trainer.num_workers=0", "trainer.log_every_steps=1", "trainer.num_sample_clips=0",
    "trainer.compile=false", "lm.d_model=32", "lm.num_layers=2", "lm.num_heads=2", "lm.ctx_frames=32",
    "lr.phases.main.epochs=[1,3]", "lr.phases.main.groups.all=1e-2",
]  # fmt: skip

# Growing windows, dropout, accumulation, averaged weights, guards. Epoch 1 = steps 1-10, epoch 2 = 11-15, 3 = 16-20.
GROWING = [
    "+experiment=rvq_run2_big", *SMALL, "trainer.ema_decay=0.9", "trainer.batch_size=10", "trainer.accumulation=3",
    "trainer.guards.outlier_warmup_steps=2", "checkpoint.every_steps=2", "checkpoint.keep_intermediate=50",
    "+curriculum.stages.short={epochs: [1, 1], segment_frames: 16}", "curriculum.stages.all.epochs=[2,3]",
]  # fmt: skip


def token_data(corpus_dir: Path, output: Path) -> list[str]:
    """Where tokens come from and runs go to."""
    return [f"data.cache_dir={corpus_dir / 'prepared' / 'codes_demo'}", f"output_dir={output}"]


def token_run(output: Path) -> Path:
    """The one run folder below `output`."""
    (found,) = (output / "tokens").iterdir()
    return found
