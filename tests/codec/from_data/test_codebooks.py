"""Codebooks from data: k-means level by level, moving averages, new starts, and noise in their place."""

import copy

import pytest
import torch
import torch.nn.functional as F
from snac.vq import ResidualVectorQuantize
from torch import Tensor

from snac_exp.codec.from_data.kmeans import spherical_kmeans, start_codebooks
from snac_exp.codec.from_data.upkeep import CodebookUpkeep
from snac_exp.codec.quantization import Quantized, project, quantize
from snac_exp.config.schema import Quantizer
from snac_exp.errors import CodecError

ALL = torch.tensor([64, 64, 64])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def quantizer() -> ResidualVectorQuantize:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidualVectorQuantize(12, 16, 4, [4, 2, 1])


def same(values: Tensor) -> Tensor:
    return values


def test_centres_are_the_means_of_what_is_nearest_in_direction() -> None:
    axes = torch.eye(4).repeat_interleave(50, 0)
    points = 3 * axes + 0.1 * drawn(200, 4)
    centres, counts = spherical_kmeans(points, points[[0, 60, 110, 199]])
    torch.testing.assert_close(centres, points.unflatten(0, (4, 50)).mean(1), rtol=1e-5, atol=1e-5)
    assert counts.tolist() == [50, 50, 50, 50]
    centres, counts = spherical_kmeans(points[:50], torch.stack([points[0], torch.tensor([-1.0, 0, 0, 0])]))
    assert counts.tolist() == [50, 0]
    assert centres[1].tolist() == [-1, 0, 0, 0], "a centre of nothing stays"


@pytest.mark.parametrize("unit", [False, True])
def test_each_level_begins_at_what_the_ones_before_leave(quantizer: ResidualVectorQuantize, unit: bool) -> None:
    latent = drawn(3, 12, 64)
    before = quantize(quantizer, latent, unit=unit)
    again = copy.deepcopy(quantizer)
    counts = start_codebooks(quantizer, latent, ALL, 0, unit=unit)
    start_codebooks(again, latent, ALL, 0, unit=unit)
    for level, other, chosen in zip(quantizer.quantizers, again.quantizers, counts, strict=True):
        assert torch.equal(level.codebook.weight, other.codebook.weight)
        assert chosen.sum() == 3 * 64 // level.stride
    ours = quantize(quantizer, latent, unit=unit)
    for i, (codes, level) in enumerate(zip(ours.codes, quantizer.quantizers, strict=True)):
        points, indices = ours.projected[i].transpose(1, 2).flatten(0, 1), codes.flatten()
        assert torch.bincount(indices, minlength=16).tolist() == counts[i].tolist()
        # A last step of k-means may have moved points between neighbours: nearly the means.
        means = torch.stack([points[indices == k].mean(0) for k in range(16) if (indices == k).any()])
        own = level.codebook.weight[[k for k in range(16) if (indices == k).any()]]
        assert F.cosine_similarity(means, own).min() > 0.97
    assert ours.commitment.mean() < 0.5 * before.commitment.mean()


def test_only_tokens_of_real_frames_are_clustered(quantizer: ResidualVectorQuantize) -> None:
    latent, valid = drawn(3, 12, 64), torch.tensor([64, 60, 32])
    other = latent.clone()
    other[1, :, 60:], other[2, :, 32:] = 100.0, -100.0
    vectors = []
    for signal in (latent, other):
        start_codebooks(quantizer, signal, valid, 0, unit=True)
        vectors.append([level.codebook.weight.detach().clone() for level in quantizer.quantizers])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*vectors, strict=True))
    with pytest.raises(CodecError, match=r"start\.kmeans_batches: codebook 0 has 16 entries .* only 9 tokens"):
        start_codebooks(quantizer, latent, torch.tensor([16, 12, 8]), 0, unit=True)


def of_members(members: Tensor, codes: Tensor) -> Quantized:
    """Members (N, 4) that chose codes (N,) of all three levels."""
    projected = [members.T[None] for _ in range(3)]
    zero = torch.zeros(1)
    return Quantized(zero, [codes[None]] * 3, projected, zero, zero, zero, zero)


def step(upkeep: CodebookUpkeep, parts: list[tuple[Tensor, Tensor]], number: int = 0) -> None:
    upkeep.begin_step()
    for members, codes in parts:
        upkeep.take_in(of_members(members, codes), torch.tensor([1000]))
    upkeep.end_step(same, same, torch.Generator().manual_seed(number))


def test_averages_follow_their_members_and_unused_entries_begin_anew(quantizer: ResidualVectorQuantize) -> None:
    upkeep = CodebookUpkeep(quantizer, Quantizer("average", decay=0.9, restart_below=0.05))
    members, codes = drawn(64, 4), torch.arange(64) % 8  # half of 16 entries are never chosen
    for number in range(100):
        step(upkeep, [(members, codes)], number)
    for level in quantizer.quantizers:
        weight = level.codebook.weight.detach()
        means = torch.stack([members[codes == k].mean(0) for k in range(8)])
        torch.testing.assert_close(weight[:8], means, rtol=0, atol=1e-3)
        assert torch.cdist(weight[8:], members).min(1).values.max() < 1e-3
    counts = upkeep.get_buffer("counts0")
    torch.testing.assert_close(counts[:8], torch.full((8,), 8.0), rtol=1e-3, atol=0)


def test_by_gradient_only_unused_entries_are_touched(quantizer: ResidualVectorQuantize) -> None:
    upkeep = CodebookUpkeep(quantizer, Quantizer("gradient", decay=0.5, restart_below=0.05))
    before = [level.codebook.weight.detach().clone() for level in quantizer.quantizers]
    members, codes = drawn(64, 4), torch.arange(64) % 15
    for number in range(12):
        step(upkeep, [(members, codes)], number)
    for level, old in zip(quantizer.quantizers, before, strict=True):
        assert torch.equal(level.codebook.weight[:15], old[:15])
        assert (level.codebook.weight[15] == members).all(1).any()


def test_micro_batches_move_codebooks_as_their_batch_does(quantizer: ResidualVectorQuantize) -> None:
    members, codes = drawn(64, 4), torch.arange(64) % 16
    settings, other = Quantizer("average"), copy.deepcopy(quantizer)
    whole, parts = CodebookUpkeep(quantizer, settings), CodebookUpkeep(other, settings)
    step(whole, [(members, codes)])
    step(parts, [(members[:40], codes[:40]), (members[40:], codes[40:])])
    for ours, theirs in zip(quantizer.quantizers, other.quantizers, strict=True):
        torch.testing.assert_close(ours.codebook.weight, theirs.codebook.weight, rtol=1e-5, atol=1e-6)


def test_of_a_step_that_is_not_made_nothing_is_kept(quantizer: ResidualVectorQuantize) -> None:
    members, codes = drawn(64, 4), torch.arange(64) % 16
    other = copy.deepcopy(quantizer)
    ours, theirs = CodebookUpkeep(quantizer, Quantizer("average")), CodebookUpkeep(other, Quantizer("average"))
    ours.take_in(of_members(9 * members, codes), torch.tensor([1000]))
    for upkeep in (ours, theirs):
        step(upkeep, [(members, codes)])
    assert all(torch.equal(ours.get_buffer(name), theirs.get_buffer(name)) for name in ("counts0", "sums2"))


def test_unit_projections_change_lengths_and_no_code(quantizer: ResidualVectorQuantize) -> None:
    latent = drawn(3, 12, 64)
    free, unit = quantize(quantizer, latent), quantize(quantizer, latent, unit=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(free.codes, unit.codes, strict=True))
    torch.testing.assert_close(unit.latent, free.latent, rtol=0, atol=1e-5)
    lengths = project(quantizer.quantizers[1], latent, unit=True).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 2.0))


def test_noise_in_place_of_codebooks_is_of_its_size_and_no_loss(quantizer: ResidualVectorQuantize) -> None:
    latent = drawn(8, 12, 256)
    quiet = quantize(quantizer, latent, noise=0.0)
    assert quiet.codes == []
    assert quiet.commitment.abs().max() == quiet.codebook.abs().max() == 0
    noisy = quantize(quantizer, latent, noise=0.5, generator=torch.Generator().manual_seed(0))
    again = quantize(quantizer, latent, noise=0.5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(noisy.latent, again.latent)
    level = quantizer.quantizers[0]
    first = level.out_proj(
        project(level, latent) + 0.5 * project(level, latent).square().mean().sqrt() * drawn(8, 4, 64)
    )
    rest = latent - first.repeat_interleave(4, -1)
    torch.testing.assert_close(project(quantizer.quantizers[1], rest), noisy.projected[1], rtol=0, atol=1e-4)
    weights = [level.codebook.weight for level in quantizer.quantizers]
    assert all(item is None for item in torch.autograd.grad(noisy.latent.sum(), weights, allow_unused=True))
