import pytest
import torch

from snac_exp.codec import effective, init
from snac_exp.codec.heads import ResidualHead, UpsampleHead
from snac_exp.codec.start import initialise, start_promise
from snac_exp.errors import ConfigError, PreflightError


@pytest.mark.slow
@pytest.mark.parametrize("name", ["average", "first", "random"])
def test_an_untrained_model_keeps_its_promise(any_codec, build_model, name):
    model = build_model(any_codec, init_name=name)
    before = torch.get_rng_state()
    native, wide = model.rates
    assert start_promise(model, any_codec, name, seed=0) == [
        f"{native} equals the pretrained decoder bit for bit",
        f"{wide} starts with the effective weights of init={name}",
    ]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_a_residual_start_is_proved(any_codec, build_model):
    model = build_model(any_codec, ResidualHead, "residual")
    assert "starts as the interpolated" in start_promise(model, any_codec, "residual", seed=0)[1]
    with torch.no_grad():
        model.heads[list(model.rates)[1]].conv.bias.fill_(1e-3)
    with pytest.raises(PreflightError, match="does not start as the interpolated native output"):
        start_promise(model, any_codec, "residual", seed=0)


def test_s02_a_no_op_start_is_found(small, build_model, monkeypatch):
    def no_op(layer, leaf, value, name):
        getattr(layer, leaf).data.copy_(value)

    monkeypatch.setattr(effective, "_assign", no_op)
    model = build_model(small)
    with pytest.raises(PreflightError, match=r"head_48k\..*weight does not start as init=average"):
        start_promise(model, small, "average", seed=0)


def test_s03_a_dropped_snake_is_found(small, build_model):
    model = build_model(small)
    model.head("head_24k").snake = torch.nn.Identity()
    with pytest.raises(PreflightError, match="head_24k does not start as the pretrained decoder"):
        start_promise(model, small, "average", seed=0)


@pytest.mark.slow
def test_another_init_or_seed_or_a_trained_model_is_found(small, build_model):
    with pytest.raises(PreflightError, match="init=first"):
        start_promise(build_model(small), small, "first", seed=0)
    with pytest.raises(PreflightError, match="init=random"):
        start_promise(build_model(small, init_name="random"), small, "random", seed=1)
    model = build_model(small)
    with torch.no_grad():
        next(model.trunk.parameters()).mul_(1.001)
    with pytest.raises(PreflightError, match="pretrained decoder"):
        start_promise(model, small, "average", seed=0)


def test_a_nan_keeps_no_promise(small, build_model):
    model = build_model(small)
    with torch.no_grad():
        model.head("head_48k").snake.alpha.fill_(float("nan"))
    with pytest.raises(PreflightError, match=r"snake\.alpha"):
        start_promise(model, small, "average", seed=0)


def test_initialise_depends_on_the_seed_alone(small, build_model):
    model = build_model(small, init_name="random")
    weights = effective.effective_weights(model.head("head_48k"))
    torch.manual_seed(99)
    initialise(model, small, "random", seed=0)
    again = effective.effective_weights(model.head("head_48k"))
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    initialise(model, small, "random", seed=1)
    assert not torch.equal(model.head("head_48k").block.block[1].weight, weights["block.block.1.weight"])


@pytest.mark.slow
def test_an_unknown_init_is_refused(small, build_model):
    with pytest.raises(ConfigError, match=r"init\.name=averag "):
        initialise(build_model(small, UpsampleHead), small, "averag", seed=0)
    assert not hasattr(init, "averag")
