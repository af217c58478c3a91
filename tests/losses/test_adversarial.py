"""Adversarial losses against numbers worked out by hand."""

import pytest
import torch
from torch import Tensor

from snac_exp.losses.adversarial import (
    GAN_LOSSES,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    lsgan_discriminator,
    lsgan_generator,
    scores_of,
)

REAL = [torch.tensor([2.0, 0.5]), torch.tensor([[-1.0]])]
FAKE = [torch.tensor([-2.0, 0.0]), torch.tensor([[0.5]])]


def test_hinge() -> None:
    # first: (0 + 0.5) / 2 + (0 + 1) / 2; second: 2 + 1.5
    assert hinge_discriminator(REAL, FAKE).item() == pytest.approx(0.25 + 0.5 + 2 + 1.5)
    assert hinge_generator(FAKE).item() == pytest.approx(1.0 - 0.5)


def test_lsgan() -> None:
    # first: (1 + 0.25) / 2 + (4 + 0) / 2; second: 4 + 0.25
    assert lsgan_discriminator(REAL, FAKE).item() == pytest.approx(0.625 + 2 + 4 + 0.25)
    # first: (9 + 1) / 2; second: 0.25
    assert lsgan_generator(FAKE).item() == pytest.approx(5 + 0.25)


@pytest.mark.parametrize("name", sorted(GAN_LOSSES))
def test_a_perfect_judge_has_no_loss_and_a_convinced_one_pulls_the_codec(name: str) -> None:
    of_discriminators, of_generator = GAN_LOSSES[name]
    margin = -1.0 if name == "hinge" else 0.0
    assert of_discriminators([torch.ones(3)], [torch.full((3,), margin)]).item() == 0
    scores = torch.zeros(3, requires_grad=True)
    of_generator([scores]).backward()
    assert (scores.grad < 0).all(), "a higher score is a lower loss"


def test_beyond_its_margin_hinge_has_no_gradient_and_squares_have() -> None:
    for loss, moves in ((hinge_discriminator, False), (lsgan_discriminator, True)):
        real, fake = torch.tensor([3.0], requires_grad=True), torch.tensor([-3.0], requires_grad=True)
        loss([real], [fake]).backward()
        assert bool(real.grad.abs() > 0) is bool(fake.grad.abs() > 0) is moves


def test_feature_matching_leaves_the_score_out_and_the_real_side_alone() -> None:
    real = [[torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([5.0]), torch.tensor([100.0])]]
    fake = [[torch.tensor([0.0, 4.0], requires_grad=True), torch.tensor([4.5]), torch.tensor([-100.0])]]
    loss = feature_matching(real, fake)
    assert loss.item() == pytest.approx(1.5 + 0.5)
    loss.backward()
    assert real[0][0].grad is None
    assert fake[0][0].grad.tolist() == [-0.5, 0.5]
    assert feature_matching(real * 2, fake * 2).item() == pytest.approx(4.0), "a sum over discriminators"


def test_scores_are_the_last_outputs() -> None:
    features: list[list[Tensor]] = [[torch.zeros(1), torch.ones(1)], [torch.full((1,), 2.0)]]
    assert [score.item() for score in scores_of(features)] == [1, 2]
