"""Weights of loss terms that stand for one phase: in the steps of that phase, in no validation, and told beforehand."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.recipe import recipe, run_dir
from tests.helpers.commands import train, verb

HEADS = {"head_24k": 0.3, "head_48k": 1.0}  # of the main phase
PHASES = "+loss.phase_terms={warmup: {l1: 3.0, stft_complex: 0.0}}"


@pytest.mark.slow
def test_steps_of_a_phase_are_weighed_by_it_and_validations_as_always(corpus_dir: Path, tmp_path: Path) -> None:
    """Epoch 1, steps 1 to 4, is the warm-up, which trains the 48 kHz head alone."""
    done = train(*recipe(corpus_dir, tmp_path), "trainer.max_steps=6", PHASES)
    done.succeeded()
    told = "warmup trains with l1 3, stft_complex 0; validations weigh terms as loss.terms"
    assert told in " ".join((done.out + done.err).split())
    lines = [json.loads(line) for line in (run_dir(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    steps = {line["step"]: line for line in lines if "train/loss" in line}
    assert sorted(steps) == [1, 2, 3, 4, 5, 6]
    for step, line in steps.items():
        l1, complex_ = ({head: line[f"train/{head}/{term}"] for head in HEADS} for term in ("l1", "stft_complex"))
        wanted = 3 * l1["head_48k"] if step <= 4 else sum(HEADS[head] * (l1[head] + complex_[head]) for head in HEADS)
        assert line["train/loss"] == pytest.approx(wanted, rel=1e-4), step
    validations = [line for line in lines if "val/objective" in line]
    assert {line["epoch"] for line in validations} >= {1, 2}
    for line in validations:
        terms = line["val/head_48k/l1"] + line["val/head_48k/stft_complex"]
        assert line["val/head_48k/objective"] == pytest.approx(terms, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ("{warmp: {l1: 1.0}}", "no phase of lr.phases (~loss.phase_terms.warmp leaves it out); did you mean 'warmup'"),
        ("{warmup: {l2: 1.0}}", "warmup.l2 is no term of loss.terms; choose one of: l1, stft_complex"),
        ("{warmup: {l1: -1.0}}", "warmup.l1=-1.0 must not be negative"),
        ("{warmup: {l1: nan}}", "warmup.l1=nan must not be negative, and finite"),
        ("{warmup: {l1: inf}}", "warmup.l1=inf must not be negative, and finite"),
        ("{warmup: {l1: 0.0, stft_complex: 0.0}}", "head_48k has no term to train on in phase warmup: give one"),
        ("{main: {l1: 0.0, stft_complex: 0.0}}", "head_24k has no term to train on in phase main: give one"),
        ("{warmup: {l1: loud}}", "warmup.l1='loud' must be of type float"),
    ],
)
def test_phases_that_make_no_sense_are_named(phases: str, said: str) -> None:
    refused = verb("plan", "+experiment=phase12_dual_head", "data.cache_dir=/x", f"+loss.phase_terms={phases}")
    assert refused.status != 0
    assert said in " ".join(refused.err.split())


@pytest.mark.slow
def test_a_head_with_terms_of_its_own_needs_none_of_the_others() -> None:
    """And where the phase takes them, it is told before anything is built."""
    own = ["+loss.head_terms.head_48k={l1: 0.0, stft_complex: 0.0, log_mel: 1.0}", "+loss.terms.log_mel=0.0"]
    recipe_of = ("plan", "+experiment=phase12_dual_head", "data.cache_dir=/x", *own)
    verb(*recipe_of, "+loss.phase_terms={warmup: {stft_complex: 0.0}}").succeeded()
    refused = verb(*recipe_of, "+loss.phase_terms={main: {log_mel: 0.0}}")
    assert "head_48k has no term to train on in phase main" in " ".join(refused.err.split())


@pytest.mark.slow
def test_silence_is_told_of_each_phase_by_itself() -> None:
    """What keeps a head from silence in its warm-up does not in the phase after it."""
    recipe_of = ("plan", "+experiment=phase12_dual_head", "data.cache_dir=/x", "+loss.terms.log_mel=0.0")
    told = "alone may fall silent"
    everywhere = verb(*recipe_of, "+loss.phase_terms={warmup: {log_mel: 5.0}, main: {log_mel: 5.0}}")
    assert told not in " ".join(everywhere.succeeded().out.split())
    once = verb(*recipe_of, "+loss.phase_terms={warmup: {log_mel: 5.0}}")
    assert told in " ".join(once.succeeded().out.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("+loss.phase_terms={main: {l1: 1.0}}", "no reconstruction terms"),
        ("augment.equalizer_db=3", "augment changes audio, and tokens stay as they are"),
    ],
)
def test_a_token_model_has_no_phases_of_terms_and_no_augmentation(change: str, said: str) -> None:
    refused = verb("plan", "+experiment=rvq_toy", "data.cache_dir=/x", change)
    assert said in " ".join(refused.err.split())
