"""Random changes of training slices: what an equaliser does to sines, and that the same happens everywhere."""

import math

import pytest
import torch
from torch import Tensor

from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Augment
from snac_exp.data.slices.augmenting import OCTAVES_HZ, Change, draw_changes
from snac_exp.errors import ConfigError

OCTAVES_DB = (-3.0, -1.0, 0.0, -6.0, -2.0, -8.0, -4.0, -10.0, -5.0)


def sine(hz: float, rate: int, seconds: float = 0.5) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(int(seconds * rate)) / rate)


def level_db(audio: Tensor, reference: Tensor, rate: int) -> float:
    """Of the middle, where no edge is heard."""
    edge = rate // 10
    return 10 * math.log10(float(audio[edge:-edge].square().mean() / reference[edge:-edge].square().mean()))


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_every_octave_gets_its_level_at_any_rate(rate: int) -> None:
    change = Change(octaves_db=OCTAVES_DB)
    for hz, wanted in zip(OCTAVES_HZ, OCTAVES_DB, strict=True):
        if hz < rate / 2.2:
            tone = sine(hz, rate)
            assert level_db(change.applied(tone, rate), tone, rate) == pytest.approx(wanted, abs=0.3)
    between = sine(250 * 2**0.5, rate)
    assert level_db(change.applied(between, rate), between, rate) == pytest.approx((0.0 - 6.0) / 2, abs=0.3)


def test_a_gain_and_an_equalizer_add_up_and_nothing_moves_in_time() -> None:
    tone = sine(500, 24_000)
    changed = Change(-6.0, OCTAVES_DB).applied(tone, 24_000)
    assert level_db(changed, tone, 24_000) == pytest.approx(-12.0, abs=0.3)
    edge = 2400
    torch.testing.assert_close(changed[edge:-edge], tone[edge:-edge] * 10 ** (-12 / 20), atol=0.01, rtol=0)
    click = torch.zeros(12_000)
    click[6000] = 1.0
    assert int(Change(octaves_db=OCTAVES_DB).applied(click, 24_000).abs().argmax()) == 6000


def test_what_lies_at_the_end_does_not_come_round_to_the_start() -> None:
    late = torch.zeros(12_000)
    late[-20:] = 1.0
    changed = Change(octaves_db=OCTAVES_DB).applied(late, 24_000)
    assert float(changed[:2000].abs().max()) < 1e-2 * float(changed.abs().max())


def test_draws_are_of_seed_epoch_and_position_and_louder_nowhere() -> None:
    def drawn(seed: int = 0, epoch: int = 1) -> list[Change]:
        change = draw_changes(Augment(gain_db=(-6.0, 0.0), equalizer_db=4.0), seed, epoch, 200)
        return [change(position) for position in range(200)]

    first = drawn()
    assert drawn() == first
    assert drawn(epoch=2)[0] != first[0] != drawn(seed=1)[0]
    assert {max(change.octaves_db) for change in first} == {0.0}
    differences = torch.tensor([change.octaves_db[0] - change.octaves_db[1] for change in first])
    assert float(differences.std()) == pytest.approx(4.0 * math.sqrt(2), rel=0.2)  # of two independent octaves
    assert draw_changes(Augment(), 0, 1, 3)(2) == Change()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["+experiment=demo_codec", "augment.equalizer_db=0"], r"equalizer_db=0 must lie above 0 and be at most 12 dB"),
        (["+experiment=demo", "augment.equalizer_db=3"], r"augment\.equalizer_db changes input and target alike"),
    ],
)
def test_a_recipe_that_cannot_be_equalized_is_told(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compose_experiment(arguments)
