"""Every codec recipe, unrolled, against its table: epochs, segments, batches, groups, rates, objective."""

from dataclasses import dataclass, replace

import pytest

from snac_exp.config.compose import compose_experiment, config_dir
from snac_exp.config.schema import Experiment
from snac_exp.training.plan import Plan, planned_geometry, unroll

Rates = dict[str, float | None]


@dataclass(frozen=True)
class Table:
    """What a recipe must unroll to; runs of epochs as (number of epochs, value)."""

    segments: list[tuple[int, float]]
    batches: list[tuple[int, int]]
    rates: list[tuple[int, str, Rates]]
    weights: list[tuple[int, dict[str, float]]]
    trained_terms: set[str]
    n_ffts: dict[str, list[int]]
    data: str
    init: str | None


NFFT_24, NFFT_48 = [1024, 2048, 4096], [1024, 2048, 4096, 8192]
COMPLEX = {"l1", "stft_complex"}
FIXED = {"segments": [(15, 4.0)], "batches": [(15, 32)], "weights": [(15, {"head_48k": 1.0})]}
WARMED: list[tuple[int, str, Rates]] = [
    (3, "constant", {"trunk": None, "head_48k": 5e-5}),
    (12, "constant", {"trunk": 1e-5, "head_48k": 1e-5}),
]
PHASE12 = Table(
    [(2, 1.0), (2, 2.0), (2, 3.0), (9, 4.0)],
    [(2, 192), (2, 96), (2, 57), (9, 43)],
    [
        (1, "constant", {"trunk": None, "head_48k": 2e-4, "head_24k": None}),
        (14, "one_cycle", {"trunk": 5e-5, "head_48k": 5e-5, "head_24k": 1e-5}),
    ],
    [(1, {"head_24k": 0.0, "head_48k": 1.0}), (14, {"head_24k": 0.3, "head_48k": 1.0})],
    COMPLEX,
    {"head_24k": NFFT_24, "head_48k": NFFT_48},
    "CachedCodes",
    "average",
)
TABLES = {
    "phase10_decoder_only": Table(
        [(2, 1.0), (2, 2.0), (2, 3.0), (4, 4.0)],
        [(2, 96), (2, 48), (2, 29), (4, 22)],
        [(10, "cosine", {"trunk": 15e-6, "head_24k": 15e-6})],
        [(10, {"head_24k": 1.0})],
        {"l1", "stft_magnitude"},
        {"head_24k": NFFT_24},
        "AudioFolder",
        None,
    ),
    "phase11_standard": Table(
        **FIXED,
        rates=[(15, "constant", {"trunk": 1e-5, "head_48k": 1e-5})],
        trained_terms=COMPLEX,
        n_ffts={"head_48k": NFFT_48},
        data="AudioFolder",
        init="random",
    ),
    "phase11_warmup": Table(
        **FIXED, rates=WARMED, trained_terms=COMPLEX, n_ffts={"head_48k": NFFT_48}, data="AudioFolder", init="average"
    ),
    "phase11_fast": Table(
        **FIXED, rates=WARMED, trained_terms=COMPLEX, n_ffts={"head_48k": NFFT_48}, data="CachedCodes", init="average"
    ),
    "phase11_random_slicing": Table(
        [(3, 1.0), (3, 2.0), (3, 3.0), (6, 4.0)],
        [(15, 32)],
        [
            (1, "constant", {"trunk": None, "head_48k": 5e-5}),
            (14, "one_cycle", {"trunk": 1e-4, "head_48k": 1e-4}),
        ],
        [(15, {"head_48k": 1.0})],
        COMPLEX,
        {"head_48k": NFFT_48},
        "CachedCodes",
        "average",
    ),
    "phase12_dual_head": PHASE12,
    "phase12_adversarial": PHASE12,
    "phase12_spectral": replace(PHASE12, trained_terms={"stft_magnitude", "log_mel"}),
}
FULL = dict.fromkeys(("encoder", "quantizer", "trunk", "head_24k"), 15e-6)
TABLES["phase10_full_model"] = replace(TABLES["phase10_decoder_only"], rates=[(10, "cosine", FULL)])
TABLES["finetune_decoder"] = replace(
    TABLES["phase10_decoder_only"], trained_terms={"stft_magnitude", "log_mel"}, data="CachedCodes"
)
TAUGHT_ELSEWHERE = {"demo", "demo_codec", "snac_from_scratch"}  # below, and in tests/end_to_end


def planned(name: str) -> tuple[Experiment, Plan]:
    experiment, _ = compose_experiment([f"+experiment={name}"], complete=False)
    return experiment, unroll(experiment, planned_geometry(experiment))


def spread(runs: list[tuple]) -> list:
    return [value[0] if len(value) == 1 else value for count, *value in runs for _ in range(count)]


@pytest.mark.slow
def test_every_codec_recipe_has_its_table_here() -> None:
    names = {path.stem for path in (config_dir() / "experiment").glob("*.yaml")}
    codecs = {name for name in names if compose_experiment([f"+experiment={name}"], complete=False)[0].lm is None}
    assert codecs - TAUGHT_ELSEWHERE == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_recipe_unrolls_to_its_table(name: str) -> None:
    experiment, plan = planned(name)
    table = TABLES[name]
    assert [epoch.segment_seconds for epoch in plan.epochs] == spread(table.segments)
    assert [epoch.batch_size for epoch in plan.epochs] == spread(table.batches)
    assert [[epoch.schedule, epoch.peak_rates] for epoch in plan.epochs] == spread(table.rates)
    assert [epoch.loss_weights for epoch in plan.epochs] == spread(table.weights)
    trained = {term for term, weight in experiment.loss.terms.items() if weight > 0}
    assert trained == table.trained_terms
    assert {head: experiment.loss.n_ffts[head] for head in experiment.heads} == table.n_ffts
    assert all(experiment.loss.terms[term] == (5.0 if term == "log_mel" else 1.0) for term in trained)
    assert experiment.loss.window is None
    assert not experiment.loss.normalized
    assert experiment.data.target.rpartition(".")[2] == table.data
    assert experiment.codec.name == "snac_24khz"
    assert experiment.task.freeze_encoder == experiment.task.freeze_vq == (name != "phase10_full_model")
    assert experiment.adversary.kind == ("dac" if name == "phase12_adversarial" else "none")
    if table.init is not None:
        assert experiment.init is not None
        assert experiment.init.name == table.init
        assert experiment.heads["head_48k"].options == {"noise": False}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_recipe_has_the_optimiser_and_the_cadence_of_its_table(name: str) -> None:
    experiment, plan = planned(name)
    trainer, saved = experiment.trainer, experiment.checkpoint
    assert (trainer.grad_clip, trainer.weight_decay, trainer.validation_batch_size) == (1.0, 1e-4, 64)
    assert (saved.every_epochs, saved.every_steps, saved.every_minutes) == (1, 5000, 30.0)
    assert (plan.lr.one_cycle.pct_start, plan.lr.one_cycle.div_factor, plan.lr.one_cycle.final_div_factor) == (
        *(0.3, 25.0),
        1e4,
    )
    assert plan.lr.cosine_final_ratio == 0.1


def test_a_codec_from_scratch_has_the_numbers_of_dac() -> None:
    experiment, plan = planned("snac_from_scratch")
    adversary, codebook = experiment.adversary, experiment.loss.codebook
    assert experiment.loss.terms["log_mel"] == 15.0
    assert (adversary.weights.feature_matching, adversary.weights.adversarial) == (2.0, 1.0)
    assert (codebook.commitment, codebook.codebook) == (0.25, 1.0)
    assert experiment.trainer.betas == adversary.betas == (0.8, 0.99)
    assert set(plan.epochs[0].peak_rates.values()) == {adversary.lr} == {1e-4}
    assert adversary.periods == [2, 3, 5, 7, 11]
    assert adversary.fft_sizes == [2048, 1024, 512]
    assert adversary.band_edges == [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]
    assert not experiment.task.freeze_encoder
    assert not experiment.task.freeze_vq
    assert experiment.codec.scratch is not None
    assert (experiment.codec.scratch.encoder_dim, experiment.codec.scratch.decoder_dim) == (48, 1024)
