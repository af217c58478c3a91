"""Weights of another run: all that fits is loaded, the rest is named, and what cannot belong is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from snac_exp.checkpoints.file import write_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.errors import CheckpointError
from snac_exp.training.warm_start import warm_start


def model_of(*names: str, width: int = 3, value: float = 0.0) -> nn.ModuleDict:
    model = nn.ModuleDict({name: nn.Linear(width, 2) for name in names})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def checkpoint(path: Path, model: nn.Module) -> Path:
    write_checkpoint(path, Checkpoint(dict(model.state_dict()), TrainState(), {}, {}, {}))
    return path


def test_what_fits_is_loaded_and_the_rest_is_named(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "checkpoints" / "best_model.pt", model_of("trunk", "head_24k", value=1.0))
    model = model_of("trunk", "head_48k")
    said = warm_start(model, tmp_path, frozen=())
    assert said.path == path
    assert said.loaded == ("trunk.weight", "trunk.bias")
    assert said.kept == ("head_48k.weight", "head_48k.bias")
    assert said.unused == ("head_24k.weight", "head_24k.bias")
    assert all(bool((parameter == 1).all()) for parameter in model["trunk"].parameters())
    assert all(bool((parameter == 0).all()) for parameter in model["head_48k"].parameters())
    lines = said.lines()
    assert lines[0] == f"init_from: 2 tensors loaded from {path}"
    assert lines[1].endswith("start as the recipe says: head_48k.weight, head_48k.bias")
    said.write(tmp_path)
    assert (tmp_path / "init_from.txt").read_text().splitlines() == [
        *("loaded\ttrunk.weight", "loaded\ttrunk.bias", "kept\thead_48k.weight", "kept\thead_48k.bias"),
        *("unused\thead_24k.weight", "unused\thead_24k.bias"),
    ]


def test_what_cannot_belong_is_refused_and_nothing_is_loaded(tmp_path: Path) -> None:
    model = model_of("quantizer", "trunk")
    for i, (other, message) in enumerate(
        [
            (model_of("quantizer", "trunk", value=1.0), "differ from this recipe's codec, which stays frozen"),
            (model_of("trunk", width=4), r"trunk.weight is \(2, 4\) there and \(2, 3\) here"),
            (model_of("embedding"), "no tensor of this model"),
        ]
    ):
        path = checkpoint(tmp_path / f"{i}.pt", other)
        with pytest.raises(CheckpointError, match=message):
            warm_start(model, path, frozen={"quantizer.weight", "quantizer.bias"})
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        warm_start(model, tmp_path / "nowhere", frozen=())
    assert all(bool((parameter == 0).all()) for parameter in model.parameters())
