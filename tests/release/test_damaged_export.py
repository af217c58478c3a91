"""An exported folder opens as it was exported or not at all, wherever it is damaged."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from snac_exp import cli
from snac_exp.codec.checkpoint import load_directory
from snac_exp.doctor.opening import open_checkpoint
from snac_exp.errors import CheckpointError, CodecError, ConfigError
from snac_exp.release.loading import open_model
from snac_exp.system.files import read_json, write_json
from tests.campaigns.mutations import harmless, survives
from tests.helpers.variants import thorough

OLD = Path(__file__).parents[1] / "fixtures" / "run_v1" / "exported"


def exact(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {f"{name} {list(item.shape)}": item.numpy().tobytes() for name, item in tensors.items()}


def of_folder(path: Path) -> object:
    opened = open_model(path.parent)
    return exact(opened.model.state_dict()), opened.blueprint


def of_codec(path: Path) -> object:
    loaded = load_directory("codec", path.parent)
    return exact(loaded.model.state_dict()), loaded.geometry, loaded.config


def for_the_doctor(path: Path) -> object:
    return exact(open_checkpoint(path).model)


@pytest.fixture(scope="module")
def exported(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "codec"
    command = ["export", f"checkpoint={run_dir}", f"output={folder}", "formats=[snac,multirate,fused]"]
    assert cli.run(command) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("model.safetensors", of_folder),
        ("model.safetensors", for_the_doctor),
        ("snac_exp.json", of_folder),
        ("fused/model.safetensors", of_folder),
        ("fused/snac_exp.json", of_folder),
        ("config.json", of_codec),
        ("pytorch_model.bin", of_codec),
    ],
)
@pytest.mark.parametrize("is_old", [False, *thorough(True)])
def test_damage_is_refused_or_harmless(
    name: str, opened: Callable[[Path], object], is_old: bool, exported: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "codec"
    shutil.copytree(OLD if is_old else exported, folder)
    outcomes = survives(opened, folder / name, opened(folder / name), seed=0, count=25)
    assert harmless(outcomes), outcomes


def test_the_weights_of_another_export_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pushed"
    shutil.copytree(exported, folder)
    (folder / "export.json").unlink()  # which is not pushed
    shutil.copy(OLD / "model.safetensors", folder)
    with pytest.raises(CheckpointError, match=r"not the file that was exported: its SHA-256 is another.*; export or"):
        open_model(folder)


@pytest.mark.slow
def test_an_export_without_checksums_opens_with_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "codec"
    shutil.copytree(OLD, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        listed = open_model(folder)  # export.json has them
    (folder / "export.json").unlink()
    with pytest.warns(UserWarning, match="was exported without a checksum"):
        unlisted = open_model(folder)
    weights = unlisted.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in listed.model.state_dict().items())


@pytest.mark.slow
def test_a_damaged_list_is_named(exported: Path, run_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "codec"
    shutil.copytree(exported, folder)
    for content in ("{", "[1]"):
        (folder / "export.json").write_text(content)
        with pytest.raises(ConfigError, match=r"export\.json is damaged .*; export into a new folder"):
            cli.run(["export", f"checkpoint={run_dir}", f"output={folder}", "formats=[snac,multirate,fused]"])
    (folder / "export.json").write_text("{")
    with pytest.raises(CodecError, match=r"export\.json is damaged"):
        load_directory("codec", folder)
    write_json(folder / "export.json", read_json(exported / "export.json") | {"files": {"config.json": 5}})
    with pytest.raises(CodecError, match=r"config\.json is damaged.*SHA-256 is another"):
        load_directory("codec", folder)
