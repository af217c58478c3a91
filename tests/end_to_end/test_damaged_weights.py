"""A damaged torch file is refused, or its tensors are those that were written: torch alone reads others from it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.codec.checkpoint import load_directory
from snac_exp.codec.files.weights import read_weights
from snac_exp.doctor.opening import open_checkpoint
from snac_exp.errors import CheckpointError
from snac_exp.release.loading import open_model
from tests.campaigns.mutations import harmless, survives

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_v1"
BEST = FIXTURE / "runs" / "finished" / "checkpoints" / "best_model.pt"

Tensors = dict[str, torch.Tensor]


def exact(tensors: Tensors) -> dict[str, bytes]:
    """Names, shapes and bits, which compare equal where tensors of NaN would not."""
    return {f"{name} {list(item.shape)}": item.numpy().tobytes() for name, item in tensors.items()}


def of_checkpoint(path: Path) -> dict[str, bytes]:
    return exact(read_checkpoint(path).model)


def of_model(path: Path) -> dict[str, bytes]:
    return exact(open_model(path).model.state_dict())


def for_the_doctor(path: Path) -> dict[str, bytes]:
    return exact(open_checkpoint(path).model)


def of_codec(path: Path) -> dict[str, bytes]:
    return exact(load_directory("codec", path.parent).model.state_dict())


@pytest.mark.parametrize("opened", [of_checkpoint, for_the_doctor, pytest.param(of_model, marks=pytest.mark.slow)])
def test_a_damaged_best_model_gives_no_other_weights(opened: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / BEST.name
    shutil.copy(BEST, path)
    outcomes = survives(opened, path, opened(path), seed=0, count=60)
    assert harmless(outcomes), outcomes


@pytest.mark.slow
def test_a_damaged_file_of_weights_gives_no_other_codec(tmp_path: Path) -> None:
    path = tmp_path / "codec" / "pytorch_model.bin"
    shutil.copytree(FIXTURE / "codec", path.parent)
    outcomes = survives(of_codec, path, of_codec(path), seed=0, count=20)
    assert harmless(outcomes), outcomes


def test_the_damaged_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "best_model.pt"
    data = bytearray(BEST.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"damaged \(the checksum of its member \S+/data/\d+ differs\); use another"
    ):
        read_checkpoint(path)


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    path, tensor = tmp_path / "weights.bin", torch.arange(3.0)
    torch.save({"weight": tensor}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(path).tensors["weight"], tensor)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": tensor}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_weights(path).tensors["weight"], tensor)
