"""The autoencoder task: who is trained when what is frozen, padding, micro-batches, draws, the frozen numbers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from snac.layers import Snake1d
from torch import Tensor

from snac_exp.codec.fast.snake import FastSnake1d
from snac_exp.codec.heads import NativeHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.scratch import fresh_codec
from snac_exp.config.schema import Adversary as AdversarySettings
from snac_exp.config.schema import CodebookLoss, Loss
from snac_exp.config.schema import Task as Settings
from snac_exp.data.slices.batch import Batch
from snac_exp.errors import ConfigError
from snac_exp.training.codec.adversary import Adversary
from snac_exp.training.codec.autoencoder_task import CODEBOOK, COMMITMENT, UNEVENNESS, AutoencoderTask
from snac_exp.training.codec.decoder_task import DecoderTask
from snac_exp.training.optimization.accumulation import accumulate, shares
from snac_exp.training.optimization.groups import group_parameters
from snac_exp.training.plan import ADVERSARY
from tests.helpers.codes import assert_same_codes
from tests.helpers.noise import noise_off

CONFIG: dict[str, Any] = {
    "sampling_rate": 24_000,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 4],
    "decoder_dim": 32,
    "decoder_rates": [4, 4, 2],
    "attn_window_size": None,
    "codebook_size": 32,
    "codebook_dim": 4,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
LOSS = Loss(
    terms={"l1": 1.0, "log_mel": 1.0},
    weights={"head_24k": 1.0},
    n_ffts={"head_24k": [256, 512]},
    codebook=CodebookLoss(commitment=0.25, codebook=1.0),
)
WEIGHTS = {"head_24k": 1.0}
BOTH = Settings("codec", freeze_encoder=False, freeze_vq=False)
ENCODER = Settings("codec", freeze_encoder=False, freeze_vq=True)
VQ = Settings("codec", freeze_encoder=True, freeze_vq=False)
NUM_COARSE = 16
PATTERNS: dict[str, str | None] = {"encoder": "^encoder", "quantizer": "^quantizer", "decoder": "^(trunk|heads)"}


def model_of(seed: int = 0) -> MultiRateSnac:
    return MultiRateSnac.from_codec(fresh_codec(CONFIG, seed), {"head_24k": NativeHead})


def task_of(settings: Settings, loss: Loss = LOSS, adversary: Adversary | None = None) -> AutoencoderTask:
    """A task whose parameters are frozen as a run would freeze them."""
    task = AutoencoderTask(model_of(), loss, settings, adversary)
    prefixes = [("encoder.", settings.freeze_encoder), ("quantizer.", settings.freeze_vq)]
    patterns = {name: pattern for name, pattern in PATTERNS.items() if (f"{name}.", True) not in prefixes}
    groups = group_parameters(task.model, patterns, tuple(prefix for prefix, frozen in prefixes if frozen))
    groups.set_trainable(frozenset(patterns))
    task.seed_noise(0, "train", 0)
    return task


def batch_of(valid_coarse: tuple[int, ...] = (16, 16, 11, 5), short_by: int = 40) -> Batch:
    """Windows of 16 coarse tokens; shorter ones end `short_by` samples before a token does."""
    samples = NUM_COARSE * 128
    time = torch.arange(samples) / 24_000
    pitch = torch.tensor([150.0, 220.0, 400.0, 800.0])[: len(valid_coarse), None]
    noise = torch.randn(len(valid_coarse), samples, generator=torch.Generator().manual_seed(0))
    audio = 0.15 * torch.sin(2 * torch.pi * pitch * time) + 0.03 * noise
    tokens = torch.tensor(valid_coarse)
    valid = (tokens * 128 - short_by * (tokens < NUM_COARSE)).clamp_min(0)
    audio = audio.masked_fill(torch.arange(samples) >= valid[:, None], 0.0)[:, None]
    zeros = torch.zeros_like(tokens)
    return Batch([], {"head_24k": audio}, tokens, zeros, valid, torch.arange(len(tokens)), samples / 24_000, audio)


def moved(task: AutoencoderTask, loss: Tensor) -> set[str]:
    """Parts of the model that a loss has a gradient for; codebook vectors apart from projections."""
    named = [(name, item) for name, item in task.model.named_parameters() if item.requires_grad]
    gradients = torch.autograd.grad(loss, [item for _, item in named], allow_unused=True, retain_graph=True)
    reached = {
        name for (name, _), item in zip(named, gradients, strict=True) if item is not None and item.abs().max() > 0
    }
    return {"codebooks" if ".codebook." in name else name.split(".")[0] for name in reached}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "of_head", "of_commitment", "of_codebook"),
    [
        (BOTH, {"encoder", "quantizer", "trunk", "heads"}, {"encoder", "quantizer"}, {"codebooks"}),
        (VQ, {"quantizer", "trunk", "heads"}, {"quantizer"}, {"codebooks"}),
        (ENCODER, {"encoder", "trunk", "heads"}, {"encoder"}, set()),
    ],
    ids=["nothing frozen", "encoder frozen", "vq frozen"],
)
def test_who_is_trained_by_what(
    settings: Settings, of_head: set[str], of_commitment: set[str], of_codebook: set[str]
) -> None:
    task = task_of(settings)
    terms = task(batch_of(), WEIGHTS)
    assert all(value.dim() == 0 for value in terms.values())
    assert moved(task, terms["head_24k/l1"]) == of_head
    assert moved(task, terms[COMMITMENT]) == of_commitment
    assert moved(task, terms[UNEVENNESS]) == of_commitment
    assert terms[CODEBOOK].requires_grad is bool(of_codebook)
    if of_codebook:
        assert moved(task, terms[CODEBOOK]) == of_codebook
    assert terms[COMMITMENT].item() == pytest.approx(terms[CODEBOOK].item())
    heads = DecoderTask.total(task, terms, WEIGHTS).item()
    own = 0.25 * terms[COMMITMENT].item() + (terms[CODEBOOK].item() if of_codebook else 0.0)
    assert task.total(terms, WEIGHTS).item() == pytest.approx(heads + own, rel=1e-6)


def test_weights_of_zero_keep_a_term_out_of_the_loss() -> None:
    task = task_of(BOTH, replace(LOSS, codebook=CodebookLoss(0.0, 0.0)))
    terms = task(batch_of(), WEIGHTS)
    assert task.total(terms, WEIGHTS).item() == DecoderTask.total(task, terms, WEIGHTS).item()


def test_unevenness_is_an_option() -> None:
    task = task_of(BOTH, replace(LOSS, codebook=CodebookLoss(0.0, 0.0, 0.5)))
    terms = task(batch_of(), WEIGHTS)
    heads = DecoderTask.total(task, terms, WEIGHTS).item()
    assert task.total(terms, WEIGHTS).item() == pytest.approx(heads + 0.5 * terms[UNEVENNESS].item(), rel=1e-6)


@pytest.mark.slow
def test_frozen_parts_stay_bit_equal_and_the_others_move() -> None:
    for settings, still in ((VQ, "encoder."), (ENCODER, "quantizer.")):
        task = task_of(settings)
        before = {name: item.detach().clone() for name, item in task.model.named_parameters()}
        optimizer = torch.optim.AdamW([p for p in task.model.parameters() if p.requires_grad], lr=1e-3)
        for _ in range(2):
            optimizer.zero_grad()
            task.total(task(batch_of(), WEIGHTS), WEIGHTS).backward()
            optimizer.step()
        for name, item in task.model.named_parameters():
            assert torch.equal(item, before[name]) is name.startswith(still) or item.numel() == 1, name


def test_both_frozen_is_not_its_business() -> None:
    with pytest.raises(ValueError, match="DecoderTask"):
        AutoencoderTask(model_of(), LOSS, Settings("codec"))


@pytest.mark.slow
def test_without_a_graph_it_measures_what_the_decoder_task_measures() -> None:
    ours, theirs = task_of(BOTH), DecoderTask(model_of(), LOSS)
    batch = batch_of()
    measured = []
    for task in (ours, theirs):
        task.seed_noise(0, "validation", 0)
        with torch.no_grad():
            measured.append(task(batch, WEIGHTS))
    terms, expected = measured
    assert {*expected, COMMITMENT, CODEBOOK, UNEVENNESS} == set(terms)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5)
    codes = ours.quantize(batch).codes
    assert_same_codes(codes, theirs.codes(batch))
    with torch.no_grad():
        assert torch.allclose(ours.latent(batch), theirs.latent(batch), atol=1e-5)


def test_s09_the_latent_is_zero_beyond_the_end_and_padding_carries_no_quantizer_loss() -> None:
    task, batch = task_of(BOTH), batch_of()
    latent = task.latent(batch)
    assert latent.shape[-1] == NUM_COARSE * 4
    assert latent[3, :, 20:].abs().max() == 0
    assert latent[3, :, :20].abs().min(dim=1).values.max() > 0
    per_item = task.quantize(batch)
    weights = batch.valid_samples.double()
    expected = (per_item.commitment.double() * weights).sum() / weights.sum()
    assert task(batch, WEIGHTS)[COMMITMENT].item() == pytest.approx(expected.item(), rel=1e-5)
    cut = replace(
        batch,
        audio={"head_24k": batch.audio["head_24k"][3:, :, : 12 * 128]},
        source=batch.source[3:, :, : 12 * 128],
        **{name: getattr(batch, name)[3:] for name in ("window_tokens_valid", "slice_offset", "valid_samples", "rows")},
    )
    assert task(cut, WEIGHTS)[COMMITMENT].item() == pytest.approx(per_item.commitment[3].item(), rel=1e-4)


@pytest.mark.slow
def test_s13_micro_batches_give_the_gradient_and_the_terms_of_the_batch() -> None:
    loss = replace(LOSS, terms={"l1": 1.0})  # the mean over samples is exact, those over frames are nearly so
    task, batch = task_of(replace(BOTH, quantizer_dropout=0.7), loss), batch_of()
    means, gradients = [], []
    for size in (4, 3):
        task.zero_grad()
        task.seed_noise(0, "train", 5)
        parts = batch.micro_batches(size)
        with noise_off(task):
            means.append(
                accumulate(
                    zip(shares([task.weight(part) for part in parts]), parts, strict=True),
                    lambda part: task(part, WEIGHTS),
                    lambda terms: task.total(terms, WEIGHTS),
                    lambda loss: loss.backward(),
                )
            )
        gradients.append({name: item.grad.clone() for name, item in task.named_parameters() if item.grad is not None})
    for name in ("loss", COMMITMENT, CODEBOOK, "head_24k/l1"):
        assert means[1][name].item() == pytest.approx(means[0][name].item(), rel=1e-5), name
    assert any("codebook" in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        scale = float(gradient.abs().max())
        assert torch.allclose(gradients[1][name], gradient, rtol=1e-3, atol=1e-4 * scale), name


@pytest.mark.slow
def test_dropout_is_for_steps_and_its_draws_follow_the_position() -> None:
    task, batch = task_of(replace(BOTH, quantizer_dropout=1.0)), batch_of()

    def drawn(step: int) -> list[int]:
        task.seed_noise(3, "train", step)
        return task.quantize(batch).num_codebooks.tolist()

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(step)) for step in range(8)}) > 1
    with torch.no_grad():
        assert drawn(1) == [3] * 4
    task.eval()
    assert drawn(1) == [3] * 4


@pytest.mark.slow
def test_dropout_leaves_the_noise_of_a_step_as_it_is() -> None:
    states = []
    for share in (0.0, 1.0):
        task = task_of(replace(BOTH, quantizer_dropout=share))
        task.seed_noise(0, "train", 1)
        task(batch_of(), WEIGHTS)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_codes_are_counted_where_they_are_asked_for() -> None:
    task, batch = task_of(BOTH), batch_of()
    with torch.no_grad(), task.counting_codes() as usage:
        task(batch, WEIGHTS)
        task(batch, WEIGHTS)
    task(batch, WEIGHTS)
    counted = usage(lambda counts: counts)
    assert [counted[f"codebook/{i}/tokens"] for i in range(3)] == [
        2 * 48,
        *(2 * 96, 2 * 192),
    ]  # 16 + 16 + 11 + 5 coarse tokens
    assert {name.rpartition("/")[2] for name in counted} == {"usage", "perplexity", "dead", "tokens"}


@pytest.mark.slow
def test_no_snake_of_the_encoder_depends_on_torchscript() -> None:
    snakes = [module for module in task_of(BOTH).model.modules() if isinstance(module, Snake1d)]
    assert len(snakes) > 20
    assert all(isinstance(module, FastSnake1d) for module in snakes)


@pytest.mark.slow
def test_codes_instead_of_audio_are_refused() -> None:
    task, batch = task_of(BOTH), batch_of()
    with pytest.raises(ConfigError, match="choose data=audio_folder"):
        task(replace(batch, codes=DecoderTask(model_of(), LOSS).codes(batch), source=None), WEIGHTS)


@pytest.mark.slow
def test_the_adversary_reaches_the_encoder_through_the_quantizer() -> None:
    toy = AdversarySettings("dac", periods=[2], fft_sizes=[64], period_channels=[4, 8], band_channels=4)
    task = task_of(BOTH, adversary=Adversary(toy, {"head_24k": 24_000}, seed=0))
    weights = WEIGHTS | {ADVERSARY: 1.0}
    terms = task(batch_of(), weights)
    assert moved(task, terms["head_24k/adversarial"]) == {"encoder", "quantizer", "trunk", "heads"}
    alone = task_of(BOTH)
    assert task.total(terms, weights).item() > alone.total(alone(batch_of(), WEIGHTS), WEIGHTS).item()


@pytest.mark.slow
def test_it_learns_and_puts_codes_to_use() -> None:
    task, batch = task_of(BOTH), batch_of((16, 16, 16, 16))
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=3e-3, betas=(0.8, 0.99))
    history = []
    for step in range(60):
        task.seed_noise(0, "train", step)
        terms = task(batch, WEIGHTS)
        optimizer.zero_grad()
        task.total(terms, WEIGHTS).backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
        history.append({name: value.item() for name, value in terms.items()})
    assert history[-1]["head_24k/log_mel"] < 0.5 * history[0]["head_24k/log_mel"]
    assert history[-1][COMMITMENT] < 0.5 * history[0][COMMITMENT]
