"""A recipe that lies does not start: shifted caches, drifting geometry, foreign codes, trained heads."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from snac_exp.codec.geometry import Geometry
from snac_exp.config.arguments import quoted
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Experiment
from snac_exp.data.codes.table import CodeTable
from snac_exp.errors import PreflightError
from snac_exp.training.build import build
from snac_exp.training.codec.preflight.codes import prove_codes
from snac_exp.training.codec.preflight.proofs import PROOFS
from snac_exp.training.codec.preflight.rows import needed_rows, sample_rows
from snac_exp.training.codec.preflight.run import Preflight
from snac_exp.training.codec.preflight.sound import prove_sound
from snac_exp.training.setup import TrainingSetup
from tests.helpers.variants import thorough

ROWS = 24


@pytest.fixture(scope="module")
def experiment(corpus_dir: Path) -> Experiment:
    cache = corpus_dir / "prepared" / "codes_demo"
    return compose_experiment(["+experiment=phase12_dual_head", "codec=demo", f"data.cache_dir={quoted(str(cache))}"])[
        0
    ]


@pytest.fixture
def setup(experiment: Experiment) -> TrainingSetup:
    return build(experiment)


def with_codes(setup: TrainingSetup, change: Callable[[np.ndarray, int], np.ndarray]) -> TrainingSetup:
    """The same setup, with the tokens of every row and codebook changed; `change` gets the codebook's stride too."""
    table = setup.splits.train.table
    values = []
    for codes, offsets, stride in zip(table.values, table.offsets, setup.codec.geometry.vq_strides, strict=True):
        rows = [change(codes[first:stop], stride) for first, stop in pairwise(offsets)]
        values.append(np.concatenate(rows))
    setup.splits.train.table = dataclasses.replace(table, values=values, row_checksums=None)
    return setup


def align(setup: TrainingSetup) -> list[str]:
    rates = setup.task.model.rates
    return list(prove_sound(setup.codec, setup.splits.train, rates, "train", 0, ROWS, seed=0))


def reencode(setup: TrainingSetup) -> str:
    return prove_codes(setup.codec, setup.splits.train, "train", range(len(setup.splits.train)), seed=0)


@pytest.mark.slow
def test_a_true_corpus_passes_and_says_what_was_proved(experiment: Experiment, setup: TrainingSetup) -> None:
    said: list[str] = []
    proofs = Preflight(setup.task, setup.codec, setup.splits, "average", list(PROOFS), ROWS, experiment.seed)
    lines = proofs.run(said.append)
    assert said == [f"preflight: {line}" for line in lines]
    assert "head_24k equals the pretrained decoder bit for bit" in lines
    assert sum("lag" in line for line in lines) == 8  # two splits, two heads, start and end of utterances
    assert sum("100.00% equal" in line for line in lines) == 2


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [-1, *thorough(1, 2)])
def test_a_cache_shifted_by_coarse_tokens_is_refused(setup: TrainingSetup, tokens: int) -> None:
    shifted = with_codes(setup, lambda codes, stride: np.roll(codes, tokens * 4 // stride))
    with pytest.raises(PreflightError, match=r"\+\d+ ms from" if tokens > 0 else r"-\d+ ms from"):
        align(shifted)


@pytest.mark.slow
def test_s01_the_first_generation_s_geometry_is_refused(setup: TrainingSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio cut as for hop 441 and strides 8, 4, 2: right at the start of utterances, wrong at their end."""

    def first_generation(self: Geometry, start: int, num_coarse: int, rate: int) -> slice:
        scale = rate / 24_000
        begin = round(start * 441 * 8 * scale)
        return slice(begin, begin + round(num_coarse * 512 * 4 * scale))

    monkeypatch.setattr(Geometry, "audio_slice", first_generation)
    with pytest.raises(PreflightError, match="at the end of"):
        align(setup)


@pytest.mark.slow
def test_codes_of_other_audio_are_refused(setup: TrainingSetup) -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(PreflightError, match=r"do not belong together|ms from the audio"):
        align(with_codes(setup, lambda codes, _: generator.permutation(codes)))


@pytest.mark.slow
def test_single_tokens_that_do_not_come_back_are_refused(setup: TrainingSetup) -> None:
    def often_wrong(codes: np.ndarray, _: int) -> np.ndarray:
        changed = codes.copy()
        changed[::20] = (changed[::20] + 1) % 512
        return changed

    with pytest.raises(PreflightError, match=r"only 9\d\.\d+% of the cached tokens of 19 train rows are reproduced"):
        reencode(with_codes(setup, often_wrong))


@pytest.mark.slow
def test_codes_of_another_machine_may_differ_in_one_percent(setup: TrainingSetup) -> None:
    def rarely_wrong(codes: np.ndarray, _: int) -> np.ndarray:
        changed = codes.copy()
        changed[60::400] = (changed[60::400] + 1) % 512
        return changed

    table: CodeTable = with_codes(setup, rarely_wrong).splits.train.table
    setup.splits.train.table = dataclasses.replace(table, made_on=frozenset({("another machine",)}))
    assert "reproduced from their audio, 99." in reencode(setup)


@pytest.mark.slow
def test_codes_of_another_length_than_their_audio_are_refused(setup: TrainingSetup) -> None:
    setup.splits.train.coarse_lengths = setup.splits.train.coarse_lengths + 1
    with pytest.raises(
        PreflightError, match=r"codes and audio have different lengths(.|\n)*coarse tokens where \d+ belong"
    ):
        reencode(setup)


@pytest.mark.slow
def test_another_start_of_a_large_corpus_looks_at_other_rows(setup: TrainingSetup) -> None:
    cost = 1e6  # as of a codec so large that a sample must do
    first, again, second = (sample_rows(setup.splits.train, cost, 0, attempt) for attempt in (1, 1, 2))
    assert first == again
    assert len(first) == min(needed_rows(), len(setup.splits.train))
    assert first != second or len(first) == len(setup.splits.train)


@pytest.mark.slow
def test_a_trained_head_is_no_start(experiment: Experiment, setup: TrainingSetup) -> None:
    with torch.no_grad():
        setup.task.model.head("head_24k").conv.bias += 1e-3  # type: ignore[operator, union-attr]
    with pytest.raises(PreflightError, match="head_24k does not start as the pretrained decoder"):
        Preflight(setup.task, setup.codec, setup.splits, "average", ["start"], ROWS, experiment.seed).run(print)
