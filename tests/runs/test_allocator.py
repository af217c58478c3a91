"""Memory of a GPU: blocks that grow, unless the user chose otherwise, and none of a former stage kept in the next."""

import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from snac_exp.runs import allocator
from snac_exp.runs.allocator import GROWING, NEW, OLD, prefer_growing_segments
from snac_exp.training.loop import Trainer
from tests.helpers.commands import python_process


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (OLD, NEW):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "linux")


def chosen() -> dict[str, str]:
    prefer_growing_segments()
    return {name: allocator.os.environ[name] for name in (OLD, NEW) if name in allocator.os.environ}


@pytest.mark.parametrize(
    ("torch_version", "name"), [("2.6.0", OLD), ("2.8.1+cu126", OLD), ("2.9.0", NEW), ("2.13.0", NEW)]
)
def test_the_variable_is_the_one_that_this_torch_reads(
    torch_version: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "version", lambda _: torch_version)
    assert chosen() == {name: GROWING}


@pytest.mark.parametrize("name", [OLD, NEW])
def test_what_a_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "max_split_size_mb:64")
    assert chosen() == {name: "max_split_size_mb:64"}


def test_other_systems_have_no_such_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert chosen() == {}


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["output_dir={}", "resume=."])  # not the checkout's outputs: a demo may lie there
def test_training_chooses_before_torch_is_imported(argument: str, tmp_path: Path) -> None:
    """A stand-in for the module that would import torch says what it finds."""
    code = (
        "import os, sys, types\n"
        "from snac_exp.verbs.training import train\n"
        "def found(*_):\n"
        "    names = ('PYTORCH_ALLOC_CONF', 'PYTORCH_CUDA_ALLOC_CONF')\n"
        "    print([os.environ[name] for name in names if name in os.environ], 'torch' in sys.modules)\n"
        "    return 0\n"
        "sys.modules['snac_exp.runs.run'] = types.SimpleNamespace(start=found, resume=found)\n"
        "train.RunFolder.open = lambda path: types.SimpleNamespace(values=lambda: train.compose_experiment([])[1])\n"
        f"train._main({[argument.format(tmp_path)]})\n"
    )
    done = python_process("-c", code, cold=True).succeeded()
    assert done.out.splitlines()[-1] == f"{[GROWING]} False"


@pytest.mark.parametrize(("device", "times"), [("cuda", 2), ("cpu", 0)])
def test_a_new_stage_begins_with_what_it_needs(device: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that are kept have the sizes of the stage before."""
    freed: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("freed"))
    trainer = MagicMock()
    trainer.fabric.device, trainer.stage = torch.device(device), None
    for stage in ("a", "a", "b", "b", "c"):
        epoch = MagicMock(stage=stage, epoch=1)
        Trainer._enter(trainer, epoch)
    assert len(freed) == times
