"""The quantizer for training: upstream's numbers, gradients that go where they should, dropout, usage."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from snac.vq import ResidualVectorQuantize
from torch import Tensor

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.quantization import CodebookUsage, quantize


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def quantizer() -> ResidualVectorQuantize:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidualVectorQuantize(12, 16, 4, [4, 2, 1]).double()


@pytest.fixture
def latent() -> Tensor:
    return noise(3, 12, 8).double()


def test_without_dropout_it_is_upstreams_forward_bit_for_bit(any_codec: LoadedCodec) -> None:
    latent = noise(2, any_codec.model.latent_dim, 64)
    for context in (torch.no_grad, torch.enable_grad):
        with context():
            ours, (expected, codes) = quantize(any_codec.model.quantizer, latent), any_codec.model.quantizer(latent)
        assert torch.equal(ours.latent, expected)
        assert all(torch.equal(a, b) for a, b in zip(ours.codes, codes, strict=True))
        assert ours.num_codebooks.tolist() == [any_codec.geometry.num_codebooks] * 2
    assert torch.allclose(ours.latent, any_codec.model.quantizer.from_codes(ours.codes), atol=1e-5)


def test_the_losses_are_those_of_the_equations(quantizer: ResidualVectorQuantize, latent: Tensor) -> None:
    ours = quantize(quantizer, latent)
    expected, residual = torch.zeros(3).double(), latent
    for level, codes in zip(quantizer.quantizers, ours.codes, strict=True):
        pooled = residual.unflatten(2, (-1, level.stride)).mean(3)
        projected = level.in_proj(pooled)
        directions = F.normalize(level.codebook.weight, dim=1) @ F.normalize(projected, dim=1)
        assert torch.equal(directions.argmax(1), codes)
        entries = level.codebook.weight[codes].transpose(1, 2)
        expected = expected + (projected - entries).square().mean((1, 2))
        residual = residual - level.out_proj(entries).repeat_interleave(level.stride, 2)
    assert torch.allclose(ours.commitment, expected, rtol=1e-9)
    assert torch.allclose(ours.codebook, expected, rtol=1e-9)
    assert torch.allclose(ours.latent, latent - residual, rtol=1e-9)


def touched(quantizer: ResidualVectorQuantize, loss: Tensor) -> set[str]:
    """Kinds of parameters that a loss has a gradient for."""
    names, parameters = zip(*quantizer.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    moved = [name for name, item in zip(names, gradients, strict=True) if item is not None and item.abs().max() > 0]
    return {name.split(".")[1] + "/" + name.split(".")[2] for name in moved}


def test_who_learns_from_what(quantizer: ResidualVectorQuantize, latent: Tensor) -> None:
    latent.requires_grad_()
    ours = quantize(quantizer, latent)
    codebooks = {f"{i}/codebook" for i in range(3)}
    projections = {f"{i}/{name}" for i in range(3) for name in ("in_proj", "out_proj")}
    assert touched(quantizer, ours.codebook.sum()) == codebooks
    assert touched(quantizer, ours.commitment.sum()) == projections - {"2/out_proj"}
    assert touched(quantizer, ours.latent.square().sum()) == projections
    assert torch.autograd.grad(ours.codebook.sum(), latent, allow_unused=True, retain_graph=True) == (None,)
    assert touched(quantizer, ours.unevenness) == projections - {"2/out_proj"}
    for loss in (ours.commitment.sum(), ours.latent.sum(), ours.unevenness):
        assert torch.autograd.grad(loss, latent, retain_graph=True)[0].abs().max() > 0


def test_straight_through_the_gradient_is_that_of_the_projections_alone(latent: Tensor) -> None:
    quantizer = ResidualVectorQuantize(12, 16, 4, [1]).double()
    level, weights = quantizer.quantizers[0], noise(3, 12, 8, seed=1).double()
    straight = [latent.clone().requires_grad_() for _ in range(2)]
    (quantize(quantizer, straight[0]).latent * weights).sum().backward()
    (level.out_proj(level.in_proj(straight[1])) * weights).sum().backward()
    assert torch.allclose(straight[0].grad, straight[1].grad, rtol=1e-9)


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences_with_codes_and_offsets_held(
    quantizer: ResidualVectorQuantize, latent: Tensor
) -> None:
    """The straight-through graph is the exact gradient of a chain in which every rounding error is a constant."""
    weights = noise(3, 12, 8, seed=1).double()
    held = chain(quantizer, latent, weights)
    straight, checked = latent.clone().requires_grad_(), latent.clone().requires_grad_()
    ours = quantize(quantizer, straight)
    loss = ours.commitment.sum() + (ours.latent * weights).sum()
    assert loss.item() == pytest.approx(held(checked).item(), rel=1e-9)
    assert torch.autograd.gradcheck(held, checked)
    loss.backward()
    held(checked).backward()
    assert torch.allclose(straight.grad, checked.grad, rtol=1e-9)


def chain(quantizer: ResidualVectorQuantize, at: Tensor, weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Commitment loss plus latent times weights near `at`, codes and rounding errors as they are there."""
    with torch.no_grad():
        codes = quantize(quantizer, at).codes
        entries = [level.decode_code(item) for level, item in zip(quantizer.quantizers, codes, strict=True)]
        offsets, residual = [], at
        for level, entry in zip(quantizer.quantizers, entries, strict=True):
            offsets.append(entry - level.in_proj(F.avg_pool1d(residual, level.stride)))
            residual = residual - level.out_proj(entry).repeat_interleave(level.stride, 2)

    def loss(latent: Tensor) -> Tensor:
        commitment, residual = latent.new_zeros(()), latent
        for level, entry, offset in zip(quantizer.quantizers, entries, offsets, strict=True):
            projected = level.in_proj(F.avg_pool1d(residual, level.stride))
            commitment = commitment + (projected - entry).square().mean((1, 2)).sum()
            residual = residual - level.out_proj(projected + offset).repeat_interleave(level.stride, 2)
        return commitment + ((latent - residual) * weights).sum()

    return loss


def test_the_codebook_loss_has_the_gradient_of_finite_differences(
    quantizer: ResidualVectorQuantize, latent: Tensor
) -> None:
    weight = quantizer.quantizers[1].codebook.weight
    (gradient,) = torch.autograd.grad(quantize(quantizer, latent).codebook.sum(), weight)
    row = int(quantize(quantizer, latent).codes[1][0, 0])
    direction = weight[row].detach() / weight[row].norm()  # along itself, so that no code changes
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            before = second_level(quantizer, latent)
            weight[row] += step * direction
            after = second_level(quantizer, latent)
            weight[row] -= step * direction
        assert (after - before).item() / step == pytest.approx((gradient[row] @ direction).item(), rel=1e-3)


def second_level(quantizer: ResidualVectorQuantize, latent: Tensor) -> Tensor:
    """The codebook loss of level 1 alone; the levels behind it would move with the residual."""
    first = quantizer.quantizers[0]
    residual = latent - first(latent)[0]
    level = quantizer.quantizers[1]
    projected = level.in_proj(F.avg_pool1d(residual, level.stride))
    entries, _ = level.decode_latents(projected)
    return (projected - entries).square().mean((1, 2)).sum()


def test_s09_padding_carries_no_loss(quantizer: ResidualVectorQuantize, latent: Tensor) -> None:
    valid = torch.tensor([8, 4, 0])
    ours = quantize(quantizer, latent, valid_frames=valid)
    junk = latent.clone()
    junk[1, :, 4:], junk[2] = 1e3, -1e3
    other = quantize(quantizer, junk, valid_frames=valid)
    assert torch.equal(ours.commitment, other.commitment)
    assert torch.equal(ours.codebook, other.codebook)
    assert ours.commitment[2] == ours.codebook[2] == 0
    alone = quantize(quantizer, latent[1:2, :, :4])
    assert torch.allclose(ours.commitment[1], alone.commitment[0], rtol=1e-9), "the mean is over real tokens"


def test_unevenness_tells_one_direction_from_all(latent: Tensor) -> None:
    quantizer = ResidualVectorQuantize(12, 16, 4, [1]).double()
    many = noise(50, 12, 100).double()
    assert 0 < quantize(quantizer, many).unevenness.item() < 3
    level = quantizer.quantizers[0]
    with torch.no_grad():
        level.in_proj.bias.fill_(1e6)
    assert quantize(quantizer, many).unevenness.item() == pytest.approx(3, rel=1e-4)
    with torch.no_grad():
        level.in_proj.bias.zero_()
        level.in_proj.weight = torch.eye(12, dtype=torch.float64)[:4, :, None] * torch.arange(1, 5)[:, None, None]
    even = F.pad(torch.eye(4).double(), (0, 0, 0, 8))[None]
    assert quantize(quantizer, even).unevenness.item() == pytest.approx(0, abs=1e-12)
    junk = torch.cat((even, noise(1, 12, 4).double()))
    assert quantize(quantizer, junk, valid_frames=torch.tensor([4, 0])).unevenness.item() == pytest.approx(0, abs=1e-12)


def test_dropout_sums_fewer_codebooks_and_asks_no_loss_of_the_others(
    quantizer: ResidualVectorQuantize, latent: Tensor
) -> None:
    latent = latent.repeat(20, 1, 1)
    ours = quantize(quantizer, latent, 1.0, torch.Generator().manual_seed(0))
    whole = quantize(quantizer, latent)
    assert set(ours.num_codebooks.tolist()) == {1, 2, 3}
    for codes, expected in zip(ours.codes, whole.codes, strict=True):
        assert torch.equal(codes, expected), "every level is still looked up"
    zero_beyond = [[codes if i < num else None for i, codes in enumerate(whole.codes)] for num in (1, 2, 3)]
    for num, kept in zip((1, 2, 3), zero_beyond, strict=True):
        rows = ours.num_codebooks == num
        parts = [
            level.out_proj(level.decode_code(codes[rows])).repeat_interleave(level.stride, 2)
            for level, codes in zip(quantizer.quantizers, kept, strict=True)
            if codes is not None
        ]
        assert torch.allclose(ours.latent[rows], torch.stack(parts).sum(0), atol=1e-9)
    full = ours.num_codebooks == 3
    assert torch.equal(ours.commitment[full], whole.commitment[full])
    assert (ours.commitment[~full] < whole.commitment[~full]).all()


def test_dropout_is_a_share_and_every_number_of_codebooks_is_as_likely(quantizer: ResidualVectorQuantize) -> None:
    latent = torch.zeros(3000, 12, 4).double()
    state = torch.get_rng_state()
    drawn = quantize(quantizer, latent, 0.6, torch.Generator().manual_seed(1)).num_codebooks
    assert torch.equal(torch.get_rng_state(), state)
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    assert shares.tolist() == pytest.approx([0, 0.2, 0.2, 0.6], abs=0.03)
    assert quantize(quantizer, latent[:9]).num_codebooks.tolist() == [3] * 9
    assert torch.equal(torch.get_rng_state(), state), "without dropout nothing is drawn"


def test_dropout_draws_item_after_item_so_micro_batches_are_the_batch(quantizer: ResidualVectorQuantize) -> None:
    latent = torch.zeros(9, 12, 4).double()
    one, parts = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    whole = quantize(quantizer, latent, 0.8, one).num_codebooks
    pieces = [quantize(quantizer, part, 0.8, parts).num_codebooks for part in latent.split(2)]
    assert torch.equal(whole, torch.cat(pieces))
    assert len(set(whole.tolist())) == 3


def test_autocast_changes_nothing(quantizer: ResidualVectorQuantize, latent: Tensor) -> None:
    quantizer, latent = quantizer.float(), latent.float()
    plain = quantize(quantizer, latent)
    with torch.autocast("cpu", torch.bfloat16):
        ours = quantize(quantizer, latent)
    assert torch.equal(ours.latent, plain.latent)
    assert ours.commitment.dtype == torch.float32


def test_usage_perplexity_and_dead_codes() -> None:
    usage = CodebookUsage(8, [2, 1])
    with pytest.raises(ValueError, match="no valid code"):
        usage.metrics()
    usage.update([torch.tensor([[0, 0]]), torch.tensor([[1, 2, 3, 4]])])
    usage.update([torch.tensor([[5, 7]]), torch.tensor([[1, 2, 6, 6]])], valid_frames=torch.tensor([2]))
    # codebook 0: 0, 0, 5; codebook 1: 1, 2, 3, 4, 1, 2
    assert usage.counts.sum(1).tolist() == [3, 6]
    figures = usage.metrics()
    assert list(figures) == usage.names()
    thirds = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    sixths = -(2 * (2 / 6) * math.log(2 / 6) + 2 * (1 / 6) * math.log(1 / 6))
    assert figures == pytest.approx(
        {
            "codebook/0/usage": 2 / 8,
            "codebook/0/perplexity": math.exp(thirds),
            "codebook/0/dead": 6,
            "codebook/0/tokens": 3,
            "codebook/1/usage": 4 / 8,
            "codebook/1/perplexity": math.exp(sixths),
            "codebook/1/dead": 4,
            "codebook/1/tokens": 6,
        }
    )


def test_even_use_has_the_perplexity_of_the_size(quantizer: ResidualVectorQuantize) -> None:
    usage = CodebookUsage.of(quantizer)
    usage.update([torch.arange(16)[None].repeat(2, 1)] * 3)
    figures = usage.metrics()
    assert [figures[f"codebook/{i}/perplexity"] for i in range(3)] == pytest.approx([16] * 3)
    assert [figures[f"codebook/{i}/dead"] for i in range(3)] == [0] * 3
