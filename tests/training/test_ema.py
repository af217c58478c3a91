"""The weight average in numbers."""

import pytest
import torch

from snac_exp.errors import CheckpointError
from snac_exp.training.optimization.weight_average import WeightAverage


def test_the_average_is_the_textbook_sum_and_leaves_the_model_as_it_was() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    weight = model.weight
    with torch.no_grad():
        weight.fill_(1.0)
    average = WeightAverage(model, 0.9)
    for value in (2.0, 3.0):
        with torch.no_grad():
            weight.fill_(value)
        average.update(model)
    with average.applied(model):
        assert weight.item() == pytest.approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 3, rel=1e-6)
    assert weight.item() == 3.0
    with pytest.raises(RuntimeError, match="inside"), average.applied(model):
        raise RuntimeError("inside")
    assert weight.item() == 3.0


def test_it_goes_on_from_a_checkpoint_and_refuses_another_models() -> None:
    one, other = WeightAverage(torch.nn.Linear(2, 2), 0.9), WeightAverage(torch.nn.Linear(2, 2), 0.9)
    other.load_state_dict(one.state_dict())
    assert all(torch.equal(one.averaged[name], other.averaged[name]) for name in one.averaged)
    assert all(one.averaged[name] is not other.averaged[name] for name in one.averaged)
    with pytest.raises(CheckpointError, match="another model"):
        other.load_state_dict(WeightAverage(torch.nn.Linear(3, 2), 0.9).state_dict())


def test_it_follows_the_model_to_its_device() -> None:
    average = WeightAverage(torch.nn.Linear(2, 2), 0.9)
    average.to(torch.device("meta"))
    assert {weight.device.type for weight in average.averaged.values()} == {"meta"}
    average.update(torch.nn.Linear(2, 2, device="meta"))
