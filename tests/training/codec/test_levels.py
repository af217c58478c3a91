"""How loud heads are beside their targets at a validation, and what is said of silent ones."""

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.errors import ConfigError, SilenceError
from snac_exp.training.codec.validation import _with_levels
from snac_exp.training.optimization.levels import LevelGuard
from snac_exp.training.plan_table import silence_line


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


def test_a_silent_head_is_told_once_per_stage_and_when_it_gets_worse() -> None:
    said: list[str] = []
    guard = LevelGuard(None)
    for step, stage, level in (
        (0, "a", -30.0),  # before training
        (1, "a", -5.9),
        (2, "a", -7.0),
        (3, "a", -8.0),
        (4, "a", -11.0),
        (5, "b", -11.0),
    ):
        guard.look({"head_48k/level_db": level, "source/x/head_48k/level_db": -40.0}, step, stage, said.append)
    assert [text.partition(" below")[0] for text in said] == [
        "head_48k is 7.0 dB",
        "head_48k is 11.0 dB",
        "head_48k is 11.0 dB",
    ]
    assert all("loss.terms.log_mel" in text and "was 30.0 dB before the first step" in text for text in said)


def test_a_head_that_began_at_its_target_is_told_without_a_beginning() -> None:
    said: list[str] = []
    guard = LevelGuard(None)
    guard.look({"head_48k/level_db": -0.5}, 0, "a", said.append)
    guard.look({"head_48k/level_db": -9.0}, 1, "a", said.append)
    assert [text.partition(". ")[0] for text in said] == ["head_48k is 9.0 dB below its target"]


def test_the_guard_ends_the_run_below_what_it_admits() -> None:
    guard = LevelGuard(12.0)
    guard.look({"head_48k/level_db": -11.9}, 1, "a", lambda text: None)
    with pytest.raises(SilenceError, match=r"step 2: head_48k is 12\.1 dB below its target.*silence_db=12"):
        guard.look({"head_48k/level_db": -12.1}, 2, "a", lambda text: None)
    with pytest.raises(ConfigError, match="silence_db=-3 must be above 0"):
        LevelGuard(-3.0)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["+experiment=phase12_dual_head"], "head_24k, head_48k with l1 and stft_complex alone"),
        (["+experiment=demo"], "objective: head_24k with"),
        (["+experiment=phase12_dual_head", "loss.terms.stft_magnitude=1.0"], None),
        (["+experiment=phase12_adversarial"], None),
    ],
)
def test_the_plan_says_which_objectives_teach_silence(overrides: list[str], told: str | None) -> None:
    line = silence_line(compose_experiment(overrides, complete=False)[0])
    assert line is None if told is None else line is not None and told in line
