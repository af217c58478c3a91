"""What a resume says when it goes on elsewhere."""

import pytest
import torch

from snac_exp.system.environment import environment, environment_changes


def test_the_same_place_changes_nothing() -> None:
    here = environment(torch.device("cpu"), "32-true", 1)
    assert environment_changes(here, environment(torch.device("cpu"), "32-true", 1)) == []
    assert environment_changes(here | {"host": "another", "num_cores": 96}, here) == []


@pytest.mark.parametrize("key", ["num_threads", "cpu", "torch", "precision", "world_size", "tf32"])
def test_what_decides_the_last_bits_is_named_with_both_values(key: str) -> None:
    here = environment(torch.device("cpu"), "32-true", 1)
    assert environment_changes(here | {key: "other"}, here) == [f"{key} was other and is {here[key]}"]
