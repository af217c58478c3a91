"""What a resume says when it goes on elsewhere."""

from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from snac_exp.system import environment as module
from snac_exp.system.environment import environment, environment_changes


def test_the_same_place_changes_nothing() -> None:
    here = environment(torch.device("cpu"), "32-true", 1)
    assert environment_changes(here, environment(torch.device("cpu"), "32-true", 1)) == []
    assert environment_changes(here | {"host": "another", "num_cores": 96}, here) == []


@pytest.mark.parametrize("key", ["num_threads", "cpu", "torch", "precision", "world_size", "tf32", "deterministic"])
def test_what_decides_the_last_bits_is_named_with_both_values(key: str) -> None:
    here = environment(torch.device("cpu"), "32-true", 1)
    assert environment_changes(here | {key: "other"}, here) == [f"{key} was other and is {here[key]}"]


@pytest.mark.parametrize("present", ["lightning-fabric", "pytorch-lightning", "lightning"])
def test_fabric_is_found_in_whichever_package_brought_it(present: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(package: str) -> str:
        if "lightning" in package and package != present:
            raise PackageNotFoundError(package)
        return "9.8.7" if package == present else version(package)

    monkeypatch.setattr(module, "version", installed)
    assert environment(torch.device("cpu"), "32-true", 1)["lightning-fabric"] == "9.8.7"


def test_an_environment_without_fabric_is_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(module, "version", installed)
    with pytest.raises(PackageNotFoundError):
        module.fabric_version()
