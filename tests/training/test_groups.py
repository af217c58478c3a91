"""Every parameter in exactly one group, or frozen."""

import pytest
import torch
from torch import nn

from snac_exp.errors import ConfigError
from snac_exp.training.optimization.groups import group_parameters

PATTERNS = {"trunk": r"^trunk\.", "head": r"^heads\.", "absent": None}


def model() -> nn.Module:
    return nn.ModuleDict({"encoder": nn.Linear(2, 2), "trunk": nn.Linear(2, 2), "heads": nn.Linear(2, 1)})


def test_groups_hold_what_their_patterns_match_and_the_rest_is_frozen() -> None:
    groups = group_parameters(model(), PATTERNS, ("encoder.",))
    assert {name: sorted(parameters) for name, parameters in groups.groups.items()} == {
        "trunk": ["trunk.bias", "trunk.weight"],
        "head": ["heads.bias", "heads.weight"],
    }
    assert sorted(groups.frozen) == ["encoder.bias", "encoder.weight"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"head": r"^heads\."}, "'trunk.weight' matches no pattern"),
        (PATTERNS | {"all": "weight"}, "'trunk.weight' matches several patterns of lr.groups: trunk, all"),
        (PATTERNS | {"typo": "^head_48k"}, "lr.groups.typo='\\^head_48k' matches no parameter"),
    ],
)
def test_patterns_that_do_not_fit_are_errors(patterns: dict[str, str | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        group_parameters(model(), patterns, ("encoder.",))


def test_frozen_groups_stay_bit_equal_although_weight_decay_and_stale_gradients_are_there() -> None:
    net = model()
    groups = group_parameters(net, PATTERNS, ("encoder.",))
    optimizer = torch.optim.AdamW(
        [{"params": list(item.values())} for item in groups.groups.values()], lr=0.1, weight_decay=0.5
    )
    net["heads"](net["trunk"](torch.ones(1, 2))).sum().backward()
    groups.set_trainable(frozenset({"head"}))
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    for _ in range(3):
        optimizer.step()
        net["heads"](net["trunk"](torch.ones(1, 2))).sum().backward()
    moved = {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"heads.weight", "heads.bias"}
