"""The adversary: whose graph goes where, seeds, accumulation, precision, settings."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from snac_exp.config.compose import config_dir
from snac_exp.config.schema import Adversary as Settings
from snac_exp.config.schema import AdversaryWeights
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.losses.adversarial import feature_matching, lsgan_discriminator, lsgan_generator, scores_of
from snac_exp.training.codec.adversary import Adversary, AdversaryOutput
from snac_exp.training.codec.adversary_checks import check_adversary
from snac_exp.training.optimization.accumulation import accumulate, shares
from tests.helpers.variants import thorough

TOY = Settings("dac", periods=[2, 5], fft_sizes=[64, 32], period_channels=[4, 8, 8], band_channels=4)
RATES = {"head_24k": 24_000, "head_48k": 48_000}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def waveforms(num_items: int = 4, graph: bool = True) -> dict[str, tuple[Tensor, Tensor]]:
    lengths = {"head_24k": 400, "head_48k": 800}
    return {
        head: (noise(num_items, 1, n, seed=1).requires_grad_(graph), noise(num_items, 1, n, seed=2))
        for head, n in lengths.items()
    }


@pytest.fixture
def adversary() -> Adversary:
    return Adversary(TOY, RATES, seed=0)


@pytest.mark.slow
def test_weights_are_a_function_of_the_seed_and_the_head_and_the_generator_stays(adversary: Adversary) -> None:
    torch.manual_seed(9)
    state = torch.get_rng_state()
    again, other = Adversary(TOY, RATES, seed=0), Adversary(TOY, RATES, seed=1)
    alone = Adversary(replace(TOY, heads=["head_48k"]), RATES, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    weights, same, differing = (item.state_dict() for item in (adversary, again, other))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    score = "discriminators.0.score.parametrizations.weight.original1"
    assert not torch.equal(weights[f"judges.head_24k.{score}"], differing[f"judges.head_24k.{score}"])
    assert not torch.equal(weights[f"judges.head_24k.{score}"], weights[f"judges.head_48k.{score}"])
    assert torch.equal(alone.state_dict()[f"judges.head_48k.{score}"], weights[f"judges.head_48k.{score}"])
    assert not any("head_24k" in name for name in alone.state_dict())


@pytest.mark.slow
def test_the_discriminators_loss_reaches_discriminators_and_the_terms_reach_predictions(adversary: Adversary) -> None:
    given = waveforms()
    output = adversary(given)
    predictions = [prediction for prediction, _ in given.values()]
    parameters = list(adversary.parameters())
    assert set(output.terms) == {f"{head}/{name}" for head in RATES for name in ("adversarial", "feature_matching")}
    for loss in output.terms.values():
        reached = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in reached)
    for i, head in enumerate(RATES):
        for name in ("adversarial", "feature_matching"):
            own, other = (
                torch.autograd.grad(
                    output.terms[f"{head}/{name}"], predictions[j], allow_unused=True, retain_graph=True
                )[0]
                for j in (i, 1 - i)
            )
            assert own.abs().max() > 0
            assert other is None
    assert all(
        g is None
        for g in torch.autograd.grad(output.discriminator_loss, predictions, allow_unused=True, retain_graph=True)
    )
    output.discriminator_loss.backward()
    assert all(parameter.grad is not None for parameter in parameters)
    assert sum(parameter.grad.abs().max() > 0 for parameter in parameters) > 0.9 * len(parameters)
    assert all(not figure.requires_grad for figure in output.metrics.values())


def test_both_sides_see_the_same_weights(adversary: Adversary) -> None:
    given = waveforms()
    output = adversary(given)
    expected, losses, figures = {}, [], {}
    with torch.no_grad():
        for head, (prediction, target) in given.items():
            real, fake = adversary.judges[head](target), adversary.judges[head](prediction)
            expected[f"{head}/adversarial"] = lsgan_generator(scores_of(fake))
            expected[f"{head}/feature_matching"] = feature_matching(real, fake)
            losses.append(lsgan_discriminator(scores_of(real), scores_of(fake)))
            figures[f"{head}/discriminator"] = losses[-1]
            for name, features in (("score_real", real), ("score_fake", fake)):
                figures[f"{head}/{name}"] = torch.stack([score.mean() for score in scores_of(features)]).mean()
    for mine, theirs in ((output.terms, expected), (output.metrics, figures)):
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            assert mine[name].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)
    assert output.discriminator_loss.item() == pytest.approx(sum(losses).item(), rel=1e-5)


@pytest.mark.slow
def test_one_backward_gives_each_side_the_gradient_of_its_own_loss(adversary: Adversary) -> None:
    """What the trainer does: one sum, one backward pass, two optimizers."""
    given = waveforms()
    output = adversary(given)
    codec = adversary.total(output.terms, {"head_24k": 0.3, "head_48k": 1.0})
    wanted = [prediction for prediction, _ in given.values()], list(adversary.parameters())
    of_codec = torch.autograd.grad(codec, wanted[0], retain_graph=True)
    of_judges = torch.autograd.grad(output.discriminator_loss, wanted[1], retain_graph=True)
    (codec + output.discriminator_loss).backward()
    assert all(torch.equal(a.grad, b) for a, b in zip(wanted[0], of_codec, strict=True))
    assert all(torch.equal(a.grad, b) for a, b in zip(wanted[1], of_judges, strict=True))


@pytest.mark.slow
def test_micro_batches_add_up_to_the_batch(adversary: Adversary) -> None:
    adversary.double()
    given = {head: tuple(item.detach().double() for item in pair) for head, pair in waveforms(6).items()}
    whole = adversary(given)
    whole.discriminator_loss.backward()
    expected = [parameter.grad.clone() for parameter in adversary.parameters()]
    adversary.zero_grad()
    cut = [{head: (p[i : i + 4], t[i : i + 4]) for head, (p, t) in given.items()} for i in (0, 4)]
    means = accumulate(
        zip(shares([4, 2]), cut, strict=True),
        lambda part: everything(adversary(part)),
        lambda terms: terms["loss/discriminator"],
        lambda loss: loss.backward(),
    )
    for parameter, gradient in zip(adversary.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
    for name, value in everything(whole).items():
        assert means[name].item() == pytest.approx(value.item(), rel=1e-9)


def everything(output: AdversaryOutput) -> dict[str, Tensor]:
    return output.terms | {"loss/discriminator": output.discriminator_loss}


@pytest.mark.slow
def test_in_float32_whatever_the_autocast(adversary: Adversary) -> None:
    given = waveforms()
    plain = adversary(given)
    with torch.autocast("cpu", torch.bfloat16):
        ours = adversary(given)
        halved = adversary({head: (p.bfloat16(), t) for head, (p, t) in given.items()})
    for name, value in everything(plain).items():
        assert torch.equal(everything(ours)[name], value)
        assert everything(halved)[name].dtype == torch.float32


def test_at_validation_nothing_has_a_graph_to_the_codec(adversary: Adversary) -> None:
    with torch.no_grad():
        output = adversary(waveforms(graph=False))
    assert not any(value.requires_grad for value in everything(output).values())


def test_only_judged_heads_are_heard(adversary: Adversary) -> None:
    one = Adversary(replace(TOY, heads=["head_48k"]), RATES, seed=0)
    assert set(one(waveforms()).terms) == {"head_48k/adversarial", "head_48k/feature_matching"}
    assert one.rates == {"head_48k": 48_000}
    first = {"head_24k": waveforms()["head_24k"]}
    assert set(adversary(first).terms) == {"head_24k/adversarial", "head_24k/feature_matching"}
    with pytest.raises(ValueError, match=r"none of \['head_24k'\] has .* has those of \['head_48k'\]"):
        one(first)


@pytest.mark.slow
def test_total_weighs_heads_and_terms(adversary: Adversary) -> None:
    terms = {
        "head_24k/adversarial": torch.tensor(1.0),
        "head_24k/feature_matching": torch.tensor(10.0),
        "head_48k/adversarial": torch.tensor(float("nan")),
        "head_48k/feature_matching": torch.tensor(float("nan")),
        "head_24k/l1": torch.tensor(1000.0),
    }
    assert adversary.total(terms, {"head_24k": 0.5, "head_48k": 0.0}).item() == pytest.approx(0.5 * (1 + 2 * 10))
    assert adversary.total(terms, {"head_24k": 0.0, "head_48k": 0.0}).item() == 0
    lone = Adversary(replace(TOY, weights=AdversaryWeights(3.0, 0.0)), RATES, seed=0)
    assert lone.total(terms, {"head_24k": 1.0, "head_48k": 0.0}).item() == pytest.approx(3)


def test_it_joins_at_its_step() -> None:
    late = Adversary(replace(TOY, start_step=100), RATES, seed=0)
    assert [late.active(step) for step in (0, 99, 100, 101)] == [False, False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["hinge", *thorough("lsgan")])
def test_it_learns_to_tell_and_the_codec_learns_to_pass(loss: Any) -> None:
    adversary = Adversary(replace(TOY, heads=["head_24k"], loss=loss), RATES, seed=0)
    optimizer = torch.optim.AdamW(adversary.parameters(), lr=2e-3, betas=TOY.betas)
    time = torch.arange(400.0)
    target = 0.1 * torch.sin(0.2 * time + torch.arange(4.0)[:, None])[:, None]
    wrong = noise(4, 1, 400)
    gaps = []
    for _ in range(40):
        output = adversary({"head_24k": (wrong, target)})
        optimizer.zero_grad()
        output.discriminator_loss.backward()
        optimizer.step()
        gaps.append((output.metrics["head_24k/score_real"] - output.metrics["head_24k/score_fake"]).item())
    assert abs(gaps[0]) < 0.2
    assert gaps[-1] > 0.4
    prediction = wrong.clone().requires_grad_()
    descent = torch.optim.Adam([prediction], lr=3e-3)
    fooled = []
    for _ in range(30):
        output = adversary({"head_24k": (prediction, target)})
        descent.zero_grad()
        adversary.total(output.terms, {"head_24k": 1.0}).backward()
        descent.step()
        fooled.append(output.metrics["head_24k/score_fake"].item())
    assert fooled[-1] > fooled[0] + 0.1


def settings_of(name: str, **changes: Any) -> Settings:
    values = OmegaConf.to_container(OmegaConf.load(config_dir() / "adversary" / f"{name}.yaml"))
    assert isinstance(values, dict)
    return structure(Settings, values | changes)


def test_the_files_are_the_published_recipe() -> None:
    assert settings_of("none") == Settings("none")
    dac = settings_of("dac")
    assert dac == Settings("dac")
    assert (dac.lr, dac.betas, dac.weights.feature_matching) == (1e-4, (0.8, 0.99), 2.0)
    check_adversary(dac, RATES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": ["head_44k"]}, "there is no head 'head_44k'; did you mean 'head_48k'"),
        ({"heads": []}, "has no discriminators"),
        ({"periods": [], "fft_sizes": []}, "has no discriminators"),
        ({"weights": {"adversarial": 0.0, "feature_matching": 0.0}}, "weights are all 0"),
        ({"weights": {"adversarial": -1.0}}, r"adversary.weights.adversarial=-1.0 must not be negative"),
        ({"lr": 0.0}, "adversary.lr=0.0 must be greater than 0"),
        ({"start_step": -1}, "adversary.start_step=-1 must not be negative"),
        ({"betas": [0.8, 1.0]}, r"adversary.betas=\[0.8, 1.0\] must lie"),
        ({"periods": [0]}, r"adversary.periods=\[0\]"),
        ({"period_channels": []}, "adversary.period_channels"),
        ({"fft_sizes": [100]}, "must be multiples of 8"),
        ({"band_edges": [0.0, 0.5, 0.5, 1.0]}, "must rise from 0 to 1"),
        ({"band_edges": [0.0, 1.5]}, "must rise from 0 to 1"),
        ({"fft_sizes": [16]}, "16 samples have too few frequencies"),
    ],
)
def test_impossible_settings_are_refused_with_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_adversary(settings_of("dac", **changes), RATES)


def test_without_discriminators_there_is_nothing_to_build() -> None:
    check_adversary(Settings("none", lr=-1.0), RATES)
    with pytest.raises(ConfigError, match="choose adversary=dac"):
        Adversary(Settings("none"), RATES, seed=0)
