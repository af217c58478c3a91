"""Runs 1 to 3 of the token model, and the one after them, against the recipe's table: every number of it."""

import math
from functools import cache

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Experiment
from snac_exp.errors import ConfigError
from snac_exp.training.plan import Plan, unroll

RUNS = ("rvq_run1_base", "rvq_run2_big", "rvq_run3_fast", "rvq_next_896")
ITEMS = 3600
"""Windows of an epoch in these tests, whatever their length."""


@cache
def experiment_of(name: str) -> Experiment:
    return compose_experiment([f"+experiment={name}"], complete=False)[0]


@cache
def plan_of(name: str) -> Plan:
    return unroll(experiment_of(name), None)


def rates_of(name: str) -> list[float]:
    """The learning rate of every step of the run."""
    plan = plan_of(name).counted(lambda _: ITEMS)
    return [plan.learning_rates(epoch, batch)["all"] for epoch in plan.epochs for batch in range(epoch.end_batch)]


@pytest.mark.parametrize(
    ("name", "sizes", "dropout"),
    [
        ("rvq_run1_base", (512, 12, 8), 0.0),
        ("rvq_run2_big", (768, 16, 12), 0.1),
        ("rvq_run3_fast", (768, 16, 12), 0.1),
        ("rvq_next_896", (896, 20, 14), 0.1),
    ],
)
def test_d_model_layers_heads_and_dropout(name: str, sizes: tuple[int, int, int], dropout: float) -> None:
    lm = experiment_of(name).lm
    assert lm is not None
    assert (lm.d_model, lm.num_layers, lm.num_heads) == sizes
    assert (lm.dropout, lm.mlp_ratio, lm.pattern, lm.positions) == (dropout, 4.0, "parallel", "learned")


@pytest.mark.parametrize(
    ("name", "context", "epochs"),
    [("rvq_run1_base", 1280, 300), ("rvq_run2_big", 1280, 350), ("rvq_run3_fast", 512, 250)],
)
def test_context_step_and_epochs(name: str, context: int, epochs: int) -> None:
    experiment, plan = experiment_of(name), plan_of(name)
    assert experiment.lm is not None
    assert experiment.lm.ctx_frames == context
    assert {epoch.num_tokens for epoch in plan.epochs} == {context}
    assert int(context * experiment.data.options["step_ratio"]) == {1280: 640, 512: 256}[context]
    assert len(plan.epochs) == epochs


def test_the_next_run_grows_its_context_at_the_same_frames_per_micro_batch() -> None:
    accumulation = experiment_of("rvq_next_896").trainer.accumulation
    stages = [(epoch.num_tokens, epoch.batch_size) for epoch in plan_of("rvq_next_896").epochs]
    assert stages == [(512, 36)] * 100 + [(768, 24)] * 100 + [(1024, 18)] * 50
    assert all(batch_size % accumulation == 0 for _, batch_size in stages)
    assert {frames * batch_size // accumulation for frames, batch_size in stages} == {3072}


@pytest.mark.parametrize(
    ("name", "micro_batch", "accumulation"),
    [("rvq_run1_base", 8, 1), ("rvq_run2_big", 4, 6), ("rvq_run3_fast", 6, 6), ("rvq_next_896", 6, 6)],
)
def test_micro_batch_times_accumulation(name: str, micro_batch: int, accumulation: int) -> None:
    trainer, first = experiment_of(name).trainer, plan_of(name).epochs[0]
    assert (trainer.batch_size, trainer.accumulation) == (micro_batch * accumulation, accumulation)
    assert first.batch_size == micro_batch * accumulation
    assert math.ceil(first.batch_size / accumulation) == micro_batch  # as Trainer divides a batch


@pytest.mark.parametrize(
    ("name", "weight_decay", "betas", "fused"),
    [
        ("rvq_run1_base", 0.01, (0.9, 0.999), False),  # AdamW's own defaults
        ("rvq_run2_big", 0.02, (0.9, 0.95), False),
        ("rvq_run3_fast", 0.02, (0.9, 0.95), True),
        ("rvq_next_896", 0.02, (0.9, 0.95), True),
    ],
)
def test_adamw(name: str, weight_decay: float, betas: tuple[float, float], fused: bool) -> None:
    trainer = experiment_of(name).trainer
    assert (trainer.weight_decay, trainer.betas, trainer.fused_optimizer) == (weight_decay, betas, fused)


@pytest.mark.parametrize(
    ("name", "peak", "warmup_share", "end"),
    [("rvq_run2_big", 2e-4, 0.03, 0.0), ("rvq_run3_fast", 2e-4, 0.01, 1e-5), ("rvq_next_896", 2e-4, 0.02, 1e-5)],
)
def test_warmup_and_cosine_over_all_steps(name: str, peak: float, warmup_share: float, end: float) -> None:
    rates = rates_of(name)
    warmup = round(warmup_share * len(rates))
    assert rates[0] == peak / warmup
    assert rates[warmup - 1] == max(rates) == peak
    assert rates.index(max(rates)) == warmup - 1
    assert rates[-1] == pytest.approx(end, abs=1e-18)
    middle = warmup + (len(rates) - warmup) // 2 - 1
    assert rates[middle] == pytest.approx((peak + end) / 2, rel=1e-3)


def test_run_1_has_the_default_rate_throughout() -> None:
    assert set(rates_of("rvq_run1_base")) == {1e-3}


@pytest.mark.parametrize("name", RUNS)
def test_averaging_smoothing_and_codebook_weights(name: str) -> None:
    experiment, plain = experiment_of(name), name == "rvq_run1_base"
    assert experiment.trainer.ema_decay == (None if plain else 0.999)
    loss = experiment.loss.tokens
    assert loss is not None
    assert loss.label_smoothing == (0.0 if plain else 0.05)
    assert (loss.codebook_weights, loss.alpha) == (("equal", 0.0) if plain else ("auto", 0.5))


@pytest.mark.parametrize("name", RUNS)
def test_guards(name: str) -> None:
    trainer, plain = experiment_of(name).trainer, name == "rvq_run1_base"
    assert trainer.grad_clip == (1e9 if plain else 1.0)  # 1e9 leaves every gradient as it is
    assert (trainer.guards.outlier_ratio is None) == plain
    assert (trainer.guards.max_rollbacks == 0) == plain


@pytest.mark.parametrize("name", RUNS)
def test_speed(name: str) -> None:
    trainer, fast = experiment_of(name).trainer, name in ("rvq_run3_fast", "rvq_next_896")
    assert trainer.precision == "bf16-mixed"
    assert (trainer.tf32, trainer.compile, trainer.fused_optimizer) == (fast, fast, fast)
    assert trainer.prefetch == (6 if fast else None)
    assert trainer.num_workers > 0  # which stay for the whole run


@pytest.mark.parametrize("name", RUNS)
def test_sampling_and_archives(name: str) -> None:
    experiment = experiment_of(name)
    assert experiment.trainer.samples_every_epochs == 5
    assert (experiment.task.sample_frames, experiment.task.sample_temperature) == (1290, 1.1)
    assert (experiment.checkpoint.every_epochs, experiment.checkpoint.keep_epochs) == (10, 20)
    assert experiment.trainer.validate_every_epochs == 1


@pytest.mark.parametrize("name", RUNS)
def test_tokens_and_their_codec(name: str) -> None:
    experiment = experiment_of(name)
    assert (experiment.codec.kind, experiment.codec.hub_id) == ("dac", "descript/dac_44khz")
    assert experiment.data.target == "snac_exp.data.tokens.sources.NpqTokens"
    assert experiment.task.name == "rvq_lm"
    assert (experiment.heads, experiment.init) == ({}, None)


@pytest.mark.slow
def test_the_toy_fits_a_cpu() -> None:
    experiment, plan = experiment_of("rvq_toy"), plan_of("rvq_toy")
    assert (experiment.codec.name, experiment.trainer.accelerator, experiment.trainer.precision) == (
        "demo",
        "cpu",
        "32-true",
    )
    assert {(epoch.num_tokens, epoch.batch_size) for epoch in plan.epochs} == {(64, 8)}
    assert (experiment.trainer.accumulation, experiment.trainer.ema_decay) == (2, 0.99)
    assert experiment.trainer.guards.outlier_ratio == 3.0
    assert experiment.task.sample_frames == 128
    assert len(plan.epochs) == 10


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lm=none", "curriculum=growing_context"], "task=rvq_lm needs a model"),
        (["loss=phase12"], "needs loss.tokens; choose loss=tokens"),
        (["heads=dual"], "a token model has no heads"),
        (["lm.ctx_frames=64", "curriculum=growing_context"], "exceeds lm.ctx_frames=64"),
        (["task=decoder"], "init.name says how new heads start"),
        (["curriculum=fixed_4s"], "is for codecs; set segment_frames"),
    ],
)
def test_what_does_not_fit_together_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_experiment(["+experiment=rvq_run2_big", *overrides], complete=False)
