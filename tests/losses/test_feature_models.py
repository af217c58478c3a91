"""Terms that are frozen modules: trained through, never trained themselves."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snac_exp.config.schema import Component, LossTerm
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.losses.objective import Objective
from snac_exp.losses.pair import SignalPair

N_FFTS = {"head_24k": [64]}


class Features(nn.Module):
    """Distance of features of a small random network with dropout and batch statistics."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(1, width, 5), nn.BatchNorm1d(width), nn.Dropout(0.5))

    def forward(self, pair: SignalPair) -> Tensor:
        """Signals (B, 1, N) -> scalar."""
        difference: Tensor = self.layers(pair.prediction) - self.layers(pair.target)
        return difference.abs().mean()


class Missing(nn.Module):
    """A term whose weights are not there."""

    def __init__(self, file: str) -> None:
        super().__init__()
        Path(file).read_bytes()


def scaled(pair: SignalPair, power: float) -> Tensor:
    """A function with an option."""
    return (pair.prediction - pair.target).abs().pow(power).mean()


def per_item(pair: SignalPair) -> Tensor:
    """No scalar."""
    return (pair.prediction - pair.target).abs().mean(dim=(1, 2))


def term(name: str, weight: float = 1.0, **options: object) -> LossTerm:
    return LossTerm(weight, Component(f"{__name__}.{name}", dict(options)))


def objective_of(**terms: float | LossTerm) -> Objective:
    return Objective(terms, {}, N_FFTS, seed=7)


def pair_of(objective: Objective) -> SignalPair:
    prediction, target = torch.randn(2, 2, 1, 200, generator=torch.Generator().manual_seed(0))
    return objective.pair("head_24k", prediction.requires_grad_(), target, torch.tensor([200, 150]), 24_000)


def test_two_steps_move_the_model_and_not_the_feature_model() -> None:
    objective, model = objective_of(features=term("Features", 2.0)), nn.Conv1d(1, 1, 3, padding=1)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    start = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        objective.train()
        raw = pair_of(objective)
        pair = objective.pair("head_24k", model(raw.target), raw.target, raw.valid_samples, 24_000)
        optimizer.zero_grad()
        objective.total(objective.measure("head_24k", pair), {"head_24k": 1.0}).backward()
        optimizer.step()
    assert not torch.equal(model.weight, start)
    assert before.keys() == objective.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    assert all(item.grad is None and not item.requires_grad for item in objective.parameters())
    assert not any(module.training for module in objective.modules())


def test_what_a_module_draws_follows_from_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first = objective_of(features=term("Features")).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    again = objective_of(features=term("Features")).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_weight_zero_is_measured_without_a_graph() -> None:
    objective = objective_of(features=term("Features", 0.0), l1=1.0)
    measured = objective.measure("head_24k", pair_of(objective))
    assert measured["head_24k/features"] > 0
    assert not measured["head_24k/features"].requires_grad
    assert measured["head_24k/l1"].requires_grad
    weighted = Objective({"features": term("Features", 0.0)}, {"head_24k": {"features": 0.5}}, N_FFTS)
    assert weighted.measure("head_24k", pair_of(weighted))["head_24k/features"].requires_grad


def test_a_function_takes_its_options() -> None:
    objective = objective_of(scaled=term("scaled", power=2.0))
    pair = pair_of(objective)
    expected = (pair.prediction - pair.target).square().mean()
    assert torch.allclose(objective.measure("head_24k", pair)["head_24k/scaled"], expected)


def test_what_is_no_term_is_named() -> None:
    with pytest.raises(ConfigError, match=r"loss\.terms\.missing: .*Missing cannot read its files: .*nowhere\.pt"):
        objective_of(missing=term("Missing", file="/nowhere.pt"))
    objective = objective_of(per_item=term("per_item"))
    with pytest.raises(ConfigError, match=r"loss\.terms\.per_item must give a scalar for a batch, not a tensor \[2\]"):
        objective.measure("head_24k", pair_of(objective))
    with pytest.raises(ConfigError, match=r"loss\.terms\.path: pathlib\.Path is neither a function nor"):
        objective_of(path=LossTerm(1.0, Component("pathlib.Path")))


def test_a_described_term_is_read_from_the_config() -> None:
    kind = dict[str, float | LossTerm]
    described = {"weight": 2, "_target_": f"{__name__}.Features", "width": 5}
    built = structure(kind, {"l1": 1, "features": described, "log_mel": {"weight": 0.5}}, "loss.terms")
    assert built == {
        "l1": 1.0,
        "features": term("Features", 2.0, width=5),
        "log_mel": LossTerm(0.5, Component("snac_exp.losses.terms.log_mel.log_mel")),
    }
    for change, message in (
        ({"widht": 3}, r"unknown key 'loss\.terms\.features\.widht' .*did you mean 'width'"),
        ({"weight": "much"}, r"loss\.terms\.features\.weight='much' must be of type float"),
    ):
        with pytest.raises(ConfigError, match=message):
            structure(kind, {"features": described | change}, "loss.terms")
    with pytest.raises(ConfigError, match=r"missing key 'loss\.terms\.log_mel\.weight'"):
        structure(kind, {"log_mel": {}}, "loss.terms")
    with pytest.raises(ConfigError, match=r"'loss\.terms\.logmel' needs a _target_.*did you mean 'log_mel'"):
        structure(kind, {"logmel": {"weight": 1.0}}, "loss.terms")
