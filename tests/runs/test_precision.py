"""What a step computes with under mixed precision: its batch as it was read, its losses in float32; float16 resumes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snac_exp.config.compose import compose_experiment
from snac_exp.data.slices.batch import Batch
from snac_exp.errors import ConfigError
from snac_exp.runs import run
from snac_exp.runs.rendezvous import launched_fabric
from snac_exp.tracking.profiler import StepProfiler
from tests.end_to_end.recipe import ADVERSARY, recipe, run_dir
from tests.helpers.commands import train
from tests.helpers.same_runs import assert_equal, logged, outcome
from tests.training.test_scaler import float16_fabric


def settings(*changes: str) -> Any:
    return compose_experiment(["trainer.accelerator=cpu", *changes])[0].trainer


class Probe(nn.Module):
    """Gives the audio of a batch back, and a product under autocast."""

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, torch.dtype]:
        """Target and source (B, 1, N) as they arrive."""
        source = batch.source
        assert source is not None
        return batch.audio["head"], source, (source[0] @ source[0].T).dtype


def test_targets_and_raw_audio_are_not_rounded() -> None:
    numbers = torch.tensor([1])
    audio = torch.rand(1, 1, 64, generator=torch.Generator().manual_seed(0))
    batch = Batch([], {"head": audio}, numbers, numbers, numbers, numbers, 1.0, source=audio * 0.3)
    module = launched_fabric(settings("trainer.precision=bf16-mixed")).setup_module(Probe(), move_to_device=False)
    target, source, product = module(batch)
    assert torch.equal(target, audio)
    assert torch.equal(source, audio * 0.3)
    assert product == torch.bfloat16


def test_float16_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="16-mixed needs a GPU; on a CPU choose precision=bf16-mixed"):
        launched_fabric(settings("trainer.precision=16-mixed"))


@pytest.mark.parametrize("name", ["cuda", "gpu"])
def test_a_gpu_that_is_not_there_is_refused_by_the_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=rf"trainer.accelerator={name}: .*trainer.accelerator=auto"):
        launched_fabric(settings(f"trainer.accelerator={name}"))


SHORT = [
    "trainer.precision=16-mixed", "trainer.max_steps_per_epoch=3", "trainer.preflight=[start]", *ADVERSARY,
    "adversary.start_step=4", "checkpoint.every_steps=2", "data.validation_slices=1", "trainer.ema_decay=null",
    "lr.phases.main.epochs=[2,2]", "~curriculum.stages.b", "~curriculum.stages.c", "loss.n_ffts.head_24k=[256]",
    "loss.n_ffts.head_48k=[256]", "trainer.validate_every_epochs=2",
]  # fmt: skip


@pytest.mark.thorough
def test_float16_with_an_adversary_trains_and_resumes_bit_for_bit(
    corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the scaler that a GPU would have, on a CPU; the adversary joins in the step after the accident's."""
    monkeypatch.setattr(run, "launched_fabric", lambda _: float16_fabric())
    train(*recipe(corpus_dir, tmp_path / "whole"), *SHORT).succeeded()
    whole = run_dir(tmp_path / "whole")
    after_step = StepProfiler.after_step

    def accident(profiler: StepProfiler, step: int) -> None:
        after_step(profiler, step)
        if step == 3:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(StepProfiler, "after_step", accident)
        with pytest.raises(RuntimeError, match="power cut"):
            train(*recipe(corpus_dir, tmp_path / "cut"), *SHORT)
    train(f"resume={run_dir(tmp_path / 'cut')}").succeeded()
    assert_equal(outcome(run_dir(tmp_path / "cut")), outcome(whole))
    assert logged(run_dir(tmp_path / "cut")) == logged(whole)
    steps = [line for line in logged(whole) if line["kind"] == "train"]
    assert ["train/adversary/grad_norm" in line for line in steps] == [False] * 4 + [True] * 2
    assert outcome(whole)["precision"]["scale"] > 0
