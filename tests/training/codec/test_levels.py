"""How loud heads are beside their targets at a validation, and what is said of silent ones."""

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema.objective import Loss
from snac_exp.errors import ConfigError, SilenceError
from snac_exp.training.codec.validation import _with_levels
from snac_exp.training.optimization.levels import LevelGuard
from snac_exp.training.plan_table import silence_line

WAVEFORM = Loss(terms={"l1": 1.0, "stft_complex": 1.0})


def test_powers_become_levels_and_a_silent_target_has_none() -> None:
    means = {"objective": 1.0, "a/l1": 0.5, "source/few/a/power": 1e-2, "source/few/a/target_power": 1e-2}
    for head, power, target in (("a", 10**-1.2, 1.0), ("b", 0.0, 0.5), ("c", 0.1, 0.0)):
        means |= {f"{head}/power": power, f"{head}/target_power": target}
    assert _with_levels(means) == {
        "objective": 1.0,
        "a/l1": 0.5,
        "source/few/a/level_db": 0.0,
        "a/level_db": pytest.approx(-12.0),
        "b/level_db": -80.0,
    }


def told(*levels: float) -> list[str]:
    """What is said of a head whose levels these are at the start and at every validation, up to its cause."""
    said: list[str] = []
    guard = LevelGuard(None, WAVEFORM)
    for step, level in enumerate(levels):
        values = {"head_48k/level_db": level, "source/x/head_48k/level_db": -40.0}
        guard.look(values, step, said.append, is_last=step == len(levels) - 1)
    assert all("loss.terms.log_mel" in text for text in said)
    return [text.partition(". ")[0] for text in said]


def test_a_head_that_falls_is_told_and_again_when_it_gets_worse() -> None:
    assert told(-0.5, -5.9, -7.0, -8.0, -11.0, -11.5, -5.0) == [
        "head_48k is 7.0 dB below its target",
        "head_48k is 11.0 dB below its target",
    ]


def test_a_head_that_rises_is_told_of_at_the_end_alone() -> None:
    assert told(-30.0, -20.0, -9.0, -7.0) == [
        "head_48k is 7.0 dB below its target, and was 30.0 dB before the first step"
    ]
    assert told(-30.0, -20.0, -9.0, -5.9) == []


def test_a_head_of_a_quiet_codec_is_told_at_the_end_unless_it_falls() -> None:
    assert told(-6.5, -6.5, -7.0) == ["head_48k is 7.0 dB below its target, and was 6.5 dB before the first step"]
    assert len(told(-6.5, -10.0, -5.0)) == 1


def test_a_head_that_stays_silent_is_told_at_once() -> None:
    assert told(-30.0, -28.0, -29.0, -5.0) == [
        "head_48k is 28.0 dB below its target, and was 30.0 dB before the first step"
    ]


@pytest.mark.parametrize(
    ("overrides", "said", "unsaid"),
    [
        (["+experiment=phase12_dual_head"], "l1 and stft_complex may be", "band_powers"),
        (["+experiment=phase12_dual_head", "+loss.head_terms.head_48k={l1: 0.0}"], "training, stft_complex", "l1"),
        (["+experiment=demo"], "It trains on stft_magnitude, log_mel, band_powers", "l1"),
    ],
)
def test_the_cause_is_of_the_terms_that_the_head_trains_on(overrides: list[str], said: str, unsaid: str) -> None:
    loss = compose_experiment(overrides, complete=False)[0].loss
    warned: list[str] = []
    LevelGuard(None, loss).look({"head_48k/level_db": -7.0}, 1, warned.append, is_last=True)
    assert said in warned[0]
    assert unsaid not in warned[0]


def test_the_guard_ends_the_run_below_what_it_admits() -> None:
    guard = LevelGuard(12.0, WAVEFORM)
    guard.look({"head_48k/level_db": -11.9}, 1, lambda text: None, is_last=False)
    with pytest.raises(SilenceError, match=r"step 2: head_48k is 12\.1 dB below its target.*silence_db=12"):
        guard.look({"head_48k/level_db": -12.1}, 2, lambda text: None, is_last=False)
    with pytest.raises(ConfigError, match="silence_db=-3 must be above 0"):
        LevelGuard(-3.0, WAVEFORM)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["+experiment=phase12_dual_head"], "head_24k, head_48k with l1 and stft_complex alone"),
        (["+experiment=phase12_dual_head", "+loss.head_terms.head_48k={log_mel: 1.0}"], "objective: head_24k with"),
        (["+experiment=phase12_spectral"], None),
        (["+experiment=demo"], None),
        (["+experiment=phase12_dual_head", "loss.terms.stft_magnitude=1.0"], None),
        (["+experiment=phase12_adversarial"], None),
    ],
)
def test_the_plan_says_which_objectives_teach_silence(overrides: list[str], told: str | None) -> None:
    line = silence_line(compose_experiment(overrides, complete=False)[0])
    assert line is None if told is None else line is not None and told in line
