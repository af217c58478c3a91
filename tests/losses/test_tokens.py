"""Token losses against independent sums, and their behaviour under padding, weights and unequal vocabularies."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snac_exp.errors import ConfigError
from snac_exp.lm.frames import FrameLayout
from snac_exp.losses.tokens import TokenMetrics, TokenObjective, codebook_weights, scored_tokens, token_cross_entropy

PLAIN = FrameLayout.plain((5, 5, 5), 50.0)


def batch(
    layout: FrameLayout, num_frames: int = 6, seed: int = 0
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = [
        2 * torch.randn(3, num_frames, size, generator=generator, dtype=torch.float64) for size in layout.vocab_sizes
    ]
    targets = torch.stack([torch.randint(size, (3, num_frames), generator=generator) for size in layout.vocab_sizes], 2)
    return logits, targets, torch.tensor([num_frames, num_frames - 2, 1])


@given(sizes=st.sampled_from([(5, 5, 5), (5, 3, 4), (2,)]), smoothing=st.sampled_from([0.0, 0.05, 0.3]))
@settings(max_examples=20)
def test_cross_entropy_is_the_textbook_sum(sizes: tuple[int, ...], smoothing: float) -> None:
    logits, targets, _ = batch(FrameLayout.plain(sizes, 50.0))
    measured = token_cross_entropy(logits, targets, smoothing)
    for b, t, k in [(0, 0, 0), (1, 5, len(sizes) - 1), (2, 3, 0)]:
        scores = [math.exp(float(item)) for item in logits[k][b, t]]
        log_p = [math.log(score / sum(scores)) for score in scores]
        expected = -(1 - smoothing) * log_p[int(targets[b, t, k])] - smoothing * sum(log_p) / sizes[k]
        assert float(measured[b, t, k]) == pytest.approx(expected, rel=1e-12)


def test_auto_weights_are_those_of_the_recipe() -> None:
    assert codebook_weights("auto", 9, 0.5) == [1 + 0.5 * k / 8 for k in range(9)]
    assert codebook_weights("auto", 1, 0.5) == [1.0]
    assert codebook_weights([1, 2, 3], 3, 0.5) == [1.0, 2.0, 3.0]
    for weights in ("automatic", [1.0, 2.0], [1.0, 0.0, 1.0], [1.0, float("nan"), 1.0]):
        with pytest.raises(ConfigError, match="codebook_weights"):
            codebook_weights(weights, 3, 0.5)


def test_the_objective_is_the_weighted_mean_of_codebook_means_when_nothing_is_padded() -> None:
    logits, targets, _ = batch(PLAIN)
    losses = token_cross_entropy(logits, targets, 0.05)
    weights = torch.tensor(codebook_weights("auto", 3, 0.5), dtype=torch.float64)
    expected = (losses.mean((0, 1)) * weights).sum() / weights.sum()
    objective = TokenObjective(PLAIN, "auto", 0.5, 0.05)
    assert float(objective(logits, targets, torch.tensor([6, 6, 6]))) == pytest.approx(float(expected), rel=1e-6)


def test_padding_carries_no_loss_and_no_gradient() -> None:
    logits, targets, valid = batch(PLAIN)
    for scores in logits:
        scores.requires_grad_()
    objective = TokenObjective(PLAIN, "auto")
    loss = objective(logits, targets, valid)
    loss.backward()
    for scores in logits:
        assert torch.count_nonzero(scores.grad[0]) == scores[0].numel()
        assert torch.count_nonzero(scores.grad[1, 4:]) == torch.count_nonzero(scores.grad[2, 1:]) == 0
    changed = targets.clone()
    changed[1, 4:], changed[2, 1:] = 0, 0
    assert torch.equal(objective(logits, changed, valid), loss)


def test_a_window_of_padding_alone_is_zero_and_not_nan() -> None:
    logits, targets, _ = batch(PLAIN)
    for scores in logits:
        scores.requires_grad_()
    objective = TokenObjective(PLAIN)
    loss = objective(logits, targets, torch.zeros(3, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0 == objective.weight(torch.zeros(3, dtype=torch.int64), 6)
    assert all(torch.count_nonzero(scores.grad) == 0 for scores in logits)


def test_repeated_tokens_are_scored_once() -> None:
    layout = FrameLayout.repeated((4, 2, 1), 5, 12.0)
    mask = scored_tokens(torch.tensor([8, 5]), 8, layout)
    assert mask[0, :, 0].nonzero().flatten().tolist() == [0, 4]
    assert mask[0, :, 1].nonzero().flatten().tolist() == [0, 2, 4, 6]
    assert mask[1].sum(0).tolist() == [2, 3, 5]


@pytest.mark.parametrize("layout", [PLAIN, FrameLayout.coarse((4, 2, 1), 5, 12.0), FrameLayout.plain((5, 2), 50.0)])
def test_figures_are_means_over_scored_tokens_without_smoothing(layout: FrameLayout) -> None:
    figures = TokenMetrics(layout)
    sums = torch.zeros(layout.num_codebooks, 3, dtype=torch.float64)
    for seed in (0, 1):
        logits, targets, valid = batch(layout, seed=seed)
        figures.add(logits, targets, valid)
        for b, t, k in scored_tokens(valid, 6, layout).nonzero().tolist():
            log_p = logits[k][b, t].log_softmax(-1)
            right = int(log_p.argmax()) == int(targets[b, t, k])
            sums[layout.codebooks[k]] += torch.tensor([-float(log_p[targets[b, t, k]]), right, 1], dtype=torch.float64)
    values = figures.result()
    assert set(values) == set(figures.names())
    for k, (nats, right, tokens) in enumerate(sums.tolist()):
        assert values[f"codebook_{k}/cross_entropy"] == pytest.approx(nats / tokens, rel=1e-9)
        assert values[f"codebook_{k}/perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-9)
        assert values[f"codebook_{k}/accuracy"] == right / tokens
    nats, right, tokens = sums.sum(0).tolist()
    assert values["cross_entropy"] == pytest.approx(nats / tokens, rel=1e-9)
    assert values["bits_per_frame"] == pytest.approx(nats / tokens / math.log(2) * layout.num_streams, rel=1e-9)
    assert values["bits_per_second"] == pytest.approx(values["bits_per_frame"] * layout.frames_per_second, rel=1e-9)


def test_uniform_logits_cost_the_bits_of_the_codec() -> None:
    layout = FrameLayout.plain((1024,) * 9, 86.1328125)
    figures = TokenMetrics(layout)
    figures.add([torch.zeros(1, 4, 1024)] * 9, torch.zeros(1, 4, 9, dtype=torch.int64), torch.tensor([4]))
    values = figures.result()
    assert values["bits_per_frame"] == pytest.approx(90.0, rel=1e-6)
    assert values["bits_per_second"] == pytest.approx(7751.953125, rel=1e-6)


def test_half_precision_logits_are_scored_in_float32() -> None:
    logits, targets, valid = batch(PLAIN)
    assert TokenObjective(PLAIN)([scores.bfloat16() for scores in logits], targets, valid).dtype == torch.float32
