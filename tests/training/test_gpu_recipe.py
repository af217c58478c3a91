"""trainer=gpu: what its plan says, and that a machine without a GPU refuses it."""

from pathlib import Path

import pytest
import torch

from snac_exp.config.compose import compose_experiment
from snac_exp.training.plan_table import hardware_line
from tests.helpers.commands import train, verb

PHASE_12 = ["+experiment=phase12_dual_head", "codec=demo"]


def test_its_plan_says_what_it_does() -> None:
    out = " ".join(verb("plan", *PHASE_12, "trainer=gpu").succeeded().out.split())
    assert (
        "hardware: 1 x cuda, bf16-mixed, TensorFloat-32 on, AdamW in one kernel, not compiled, "
        "8 processes read 4 batches ahead each"
    ) in out
    assert "kernels: on CUDA Triton's, once a trial on the card succeeds" in out


def test_other_choices_are_told_too() -> None:
    changes = ["trainer.compile=true", "trainer.deterministic=true", "trainer.num_workers=0", "trainer.devices=2"]
    experiment, _ = compose_experiment([*PHASE_12, *changes], complete=False)
    assert hardware_line(experiment) == (
        "hardware: 2 x auto, 32-true, TensorFloat-32 off, AdamW, compiled, sums in one order, "
        "the training process reads"
    )


def test_a_machine_without_a_gpu_refuses_it(corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    data = [f"data.cache_dir={corpus_dir / 'prepared' / 'codes_demo'}", f"output_dir={tmp_path}", "tracker.mode=off"]
    done = train(*PHASE_12, *data, "trainer=gpu")
    assert done.status == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("ConfigError: trainer.accelerator=cuda: ")
    assert last.endswith("use a machine with one, or trainer.accelerator=auto")
