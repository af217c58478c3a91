"""Weights under the names of wrappers, nested, or as safetensors: loaded with a line, or refused by prefix; the doctor
says the same as the loader."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from snac_exp.codec.checkpoint import bundled_directory, load_directory
from tests.helpers.commands import verb
from tests.helpers.variants import thorough

DEMO = bundled_directory("demo_codec")
Tensors = dict[str, Tensor]


def prefixed(prefix: str) -> Callable[[Tensors], Any]:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


def compiled_decoder(weights: Tensors) -> Tensors:
    return {name.replace("decoder.", "decoder._orig_mod."): tensor for name, tensor in weights.items()}


TAKEN = {
    "compiled": (prefixed("_orig_mod."), "'_orig_mod.' is taken off the names of 269 tensors"),
    "parallel": (prefixed("module."), "'module.' is taken off the names of 269 tensors"),
    "both": (prefixed("_orig_mod.module."), "'_orig_mod.module.' is taken off the names of 269 tensors"),
    "other order": (prefixed("module._orig_mod."), "'module._orig_mod.' is taken off the names of 269 tensors"),
    "a part": (compiled_decoder, "'_orig_mod.' is taken off the names of"),
    "nested": (lambda weights: {"state_dict": weights, "epoch": 3}, "the weights are its entry 'state_dict'"),
    "model": (lambda weights: {"model": weights, "step": 3}, "the weights are its entry 'model'"),
    "twice": (
        lambda weights: {"model": {"state_dict": prefixed("module.")(weights)}},
        "the weights are its entry 'model.state_dict'; 'module.' is taken off the names of 269 tensors",
    ),
}
TELLING = ("both", "a part", "twice")  # of them the others are parts
REFUSED = {
    "unknown prefix": (prefixed("generator."), "names carry the prefix 'generator.'"),
    "two models": (
        lambda weights: weights | prefixed("module.")(weights),
        "must be a dictionary of tensors",
    ),
    "two entries": (lambda weights: {"ema": weights, "generator": weights}, "it holds ema, generator"),
    "a tensor too few": (lambda weights: dict(list(weights.items())[1:]), "does not fit the model"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "codec, 'odd' name=1"
    made.mkdir()
    shutil.copy(DEMO / "config.json", made)
    return made


@pytest.fixture(scope="module")
def weights() -> Tensors:
    loaded: Tensors = torch.load(DEMO / "pytorch_model.bin", weights_only=True)
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*TELLING, *thorough(*(kind for kind in TAKEN if kind not in TELLING))])
def test_what_wrappers_added_is_taken_off_and_said(
    kind: str, folder: Path, weights: Tensors, capsys: pytest.CaptureFixture[str]
) -> None:
    wrap, line = TAKEN[kind]
    torch.save(wrap(weights), folder / "pytorch_model.bin")
    assert load_directory("x", folder).fingerprint == load_directory("demo", DEMO).fingerprint
    assert f"{folder / 'pytorch_model.bin'}: {line}" in capsys.readouterr().err
    done = verb("doctor", str(folder), "format=json").succeeded()
    report = json.loads(done.out)
    assert line in report["about"]
    assert (report["healthy"], report["findings"]) == (True, [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_load_is_refused_by_loader_and_doctor(
    kind: str, folder: Path, weights: Tensors, tmp_path: Path, corpus_dir: Path
) -> None:
    wrap, reason = REFUSED[kind]
    torch.save(wrap(weights), folder / "pytorch_model.bin")
    done = verb("encode", f"checkpoint={folder}", f"input={corpus_dir / 'audio'}", f"output={tmp_path / 'codes'}")
    assert done.status == 2
    assert reason in done.err
    report = json.loads(verb("doctor", str(folder), "format=json").out)
    assert not report["healthy"]
    assert reason in report["findings"][0]["text"] or "holds no named tensors" in report["findings"][0]["text"]


@pytest.mark.slow
def test_a_folder_of_safetensors_loads(folder: Path, weights: Tensors) -> None:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    assert load_directory("x", folder).fingerprint == load_directory("demo", DEMO).fingerprint
    assert json.loads(verb("doctor", str(folder), "format=json").succeeded().out)["findings"] == []


@pytest.mark.slow
def test_what_is_there_instead_is_named(folder: Path, weights: Tensors) -> None:
    save_file(weights, folder / "model-00001-of-00002.safetensors")
    done = verb("check", f"codec.path={folder}")
    assert done.status == 2
    assert "there is model-00001-of-00002.safetensors, which is not read" in done.err


@pytest.mark.slow
def test_the_doctor_and_a_checkpoint_that_does_not_load(folder: Path, weights: Tensors) -> None:
    """Tensors without a fault of their own, of another architecture than the config beside them says."""
    torch.save(weights, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"codebook_size": 2048}))
    report = json.loads(verb("doctor", str(folder), "format=json").out)
    assert not report["healthy"]
    assert report["findings"][0]["text"].startswith("it does not load: ")
