import pytest
import torch

from snac_exp.config.loss_terms import target_of_term, term_names
from snac_exp.errors import ConfigError
from snac_exp.losses.objective import Objective, open_term

TERMS = {"l1": 1.0, "stft_complex": 1.0, "stft_magnitude": 0.0}
N_FFTS = {"head_24k": [256, 512], "head_48k": [256, 512, 1024]}
WEIGHTS = {"head_24k": 0.3, "head_48k": 1.0}


def _objective(terms=TERMS, head_terms=None, **options):
    return Objective(terms, head_terms or {}, N_FFTS, **options)


def _pairs(objective, heads=("head_24k", "head_48k"), grad=True):
    pairs = {}
    for head in heads:
        num = 4000 if head == "head_24k" else 8000
        generator = torch.Generator().manual_seed(num)
        prediction, target = (torch.randn(2, 1, num, generator=generator) for _ in range(2))
        valid = torch.tensor([num, num // 2])
        pairs[head] = objective.pair(head, prediction.requires_grad_(grad), target, valid, num * 6)
    return pairs


def _measure(objective, pairs):
    return {key: value for head, pair in pairs.items() for key, value in objective.measure(head, pair).items()}


def test_the_total_is_the_weighted_sum():
    objective = _objective()
    measured = _measure(objective, _pairs(objective))
    expected = sum(WEIGHTS[head] * (measured[f"{head}/l1"] + measured[f"{head}/stft_complex"]) for head in WEIGHTS)
    assert objective.total(measured, WEIGHTS).item() == pytest.approx(expected.item(), rel=1e-6)


def test_head_terms_stand_over_the_common_ones():
    objective = _objective(head_terms={"head_48k": {"log_mel": 2.0, "l1": 0.0}})
    assert objective.weights("head_24k") == TERMS
    assert objective.weights("head_48k") == TERMS | {"log_mel": 2.0, "l1": 0.0}
    measured = _measure(objective, _pairs(objective))
    assert "head_24k/log_mel" not in measured
    expected = measured["head_48k/stft_complex"] + 2 * measured["head_48k/log_mel"]
    assert objective.total(measured, {"head_48k": 1.0}).item() == pytest.approx(expected.item(), rel=1e-6)


def test_terms_of_a_phase_stand_over_all_others():
    objective = _objective(head_terms={"head_48k": {"l1": 0.5}})
    phase = {"l1": 0.0, "stft_magnitude": 4.0}
    pair = _pairs(objective)["head_48k"]
    measured = objective.measure("head_48k", pair, phase)
    assert {name for name, value in measured.items() if value.requires_grad} == {
        "head_48k/stft_complex",
        "head_48k/stft_magnitude",
    }
    expected = measured["head_48k/stft_complex"] + 4 * measured["head_48k/stft_magnitude"]
    assert objective.total(measured, {"head_48k": 1.0}, phase).item() == pytest.approx(expected.item(), rel=1e-6)


def test_s12_both_stft_kinds_are_always_measured():
    for terms in ({"l1": 1.0}, {"stft_magnitude": 1.0}, {"stft_complex": 1.0}):
        objective = _objective(terms)
        pair = _pairs(objective)["head_24k"]
        pair.prediction.retain_grad()
        measured = objective.measure("head_24k", pair)
        assert set(measured) == {"head_24k/l1", "head_24k/stft_complex", "head_24k/stft_magnitude"}
        trained = {key.split("/")[1] for key, value in measured.items() if value.requires_grad}
        assert trained == set(terms)
        total = objective.total(measured, {"head_24k": 1.0})
        assert total.item() == measured[f"head_24k/{next(iter(terms))}"].item()
        total.backward()
        assert pair.prediction.grad.abs().max() > 0


def test_measured_terms_push_nothing():
    gradients = []
    for terms in (TERMS, {"l1": 1.0, "stft_complex": 1.0, "log_mel": 0.0}, {"log_mel": 0.0} | TERMS):
        objective = _objective(terms)
        pairs = _pairs(objective, ["head_48k"])
        leaf = torch.zeros(2, 1, 8000, requires_grad=True)
        pair = objective.pair("head_48k", leaf, pairs["head_48k"].target, torch.tensor([8000, 4000]), 48000)
        objective.total(objective.measure("head_48k", pair), {"head_48k": 1.0}).backward()
        gradients.append(leaf.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_a_head_of_weight_zero_takes_no_part_even_with_a_nan():
    objective = _objective()
    measured = _measure(objective, _pairs(objective))
    alone = objective.total(measured, {"head_48k": 1.0})
    measured["head_24k/l1"] = torch.tensor(float("nan"))
    assert torch.equal(objective.total(measured, {"head_24k": 0.0, "head_48k": 1.0}), alone)


def test_nothing_to_train_is_an_error():
    objective = _objective()
    measured = _measure(objective, _pairs(objective))
    with pytest.raises(ConfigError, match=r"every weight in loss\.weights or loss\.terms is 0"):
        objective.total(measured, {"head_24k": 0.0, "head_48k": 0.0})


def test_unknown_terms_are_named_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"loss\.terms\.stft_magnitud is no loss term; did you mean 'stft_magnitude'\?"
    ):
        _objective({"stft_magnitud": 1.0})
    with pytest.raises(ConfigError, match=r"loss\.head_terms\.head_48k\.logmel .*'log_mel'"):
        _objective(head_terms={"head_48k": {"logmel": 1.0}})


def test_a_term_is_the_function_of_its_file():
    ours = ["band_levels", "band_powers", "envelope_correlation", "l1", "log_mel", "low_band_waveform"]
    ours += ["mel_convergence", "stft_complex", "stft_magnitude"]
    assert term_names() == ours
    objective = _objective()
    pair = _pairs(objective, ["head_24k"])["head_24k"]
    for name in term_names():
        assert target_of_term(name) == f"snac_exp.losses.terms.{name}.{name}"
        assert open_term(name, 1.0, seed=0)(pair) > 0


def test_window_and_scale_reach_the_spectra():
    values = []
    for options in ({}, {"window": "hann"}, {"normalized": True}):
        objective = _objective(**options)
        values.append(_measure(objective, _pairs(objective))["head_24k/stft_complex"].item())
    assert values[1] == pytest.approx(values[0] * (3 / 8) ** 0.5, rel=0.02)
    # White noise of deviation s has bins of deviation s sqrt(n); dividing by sqrt(n) makes all sizes alike.
    assert values[2] == pytest.approx(values[0] / ((256**0.5 + 512**0.5) / 2), rel=0.02)
