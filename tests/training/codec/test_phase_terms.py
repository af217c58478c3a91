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
        ("{warmp: {l1: 1.0}}", "loss.phase_terms.warmp is no phase of lr.phases; did you mean 'warmup'"),
        ("{warmup: {l2: 1.0}}", "loss.phase_terms.warmup.l2 is no term of loss.terms; choose one of: l1, stft_complex"),
        ("{warmup: {l1: -1.0}}", "loss.phase_terms.warmup.l1=-1.0 must not be negative"),
        ("{warmup: {l1: 0.0, stft_complex: 0.0}}", "loss.phase_terms.warmup: every term has weight 0"),
        ("{warmup: {l1: loud}}", "loss.phase_terms.warmup.l1='loud' must be of type float"),
    ],
)
def test_phases_that_make_no_sense_are_named(phases: str, said: str) -> None:
    refused = verb("plan", "+experiment=phase12_dual_head", "data.cache_dir=/x", f"+loss.phase_terms={phases}")
    assert refused.status != 0
    assert said in " ".join(refused.err.split())
