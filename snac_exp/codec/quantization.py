"""SNAC's residual quantizer with what training needs: straight-through latents, its two losses, dropout, usage.

Level i pools the residual r_i by its stride s_i, projects it, looks it up and projects back (upstream's forward):

    z_i = in_proj(avg_pool(r_i, s_i)),   e_i = the codebook vector of the direction nearest to that of z_i,
    q_i = repeat(out_proj(z_i + sg(e_i - z_i)), s_i),   r_{i+1} = r_i - q_i,   latent = sum_i q_i,

where sg stops the gradient. Losses, per token of the level, in the formulation of DAC (Kumar et al. 2023,
arXiv:2306.06546, after van den Oord et al. 2017, arXiv:1711.00937), on vectors that are not normalised:

    commitment_i = mean_d (z_i - sg(e_i))^2,   codebook_i = mean_d (sg(z_i) - e_i)^2.

An option against collapse (experiments/demo_codec), over all valid tokens of a batch, D the codebook's dimension:

    unevenness_i = |D E[n n^T] - 1|^2 / D,   n = z_i / |z_i|: 0 for directions spread evenly, D - 1 for a single one.

Codes are chosen by direction alone, so once z_i is dominated by a constant, one code is chosen ever after.

So codebook vectors learn from `codebook` alone and nothing else learns from it. `commitment`, `unevenness` and
whatever is computed from the latent train the encoder and the projections, never codebook vectors; as the residual is
not detached, they also reach the projections of the levels before.

Two options of training. With `unit` z_i is scaled to the length sqrt(D), which changes no code: then neither
projections nor codebook vectors can grow away from each other. With `noise` there are no codebooks: z_i + noise * rms *
n stands for e_i, n standard normal and rms that of all z_i, so that an autoencoder learns to bear rounding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from snac.vq import ResidualVectorQuantize, VectorQuantize
from torch import Tensor


@dataclass(frozen=True)
class Quantized:
    """A quantized batch.

    latent (B, C, T), with the straight-through graph. codes[i] (B, T / stride_i) int64, none where noise stands for
    codebooks. projected[i] (B, D, T / stride_i): what chose them. commitment, codebook (B,):
    means over the item's valid tokens of a level, summed over the levels that its latent is made of. num_codebooks
    (B,): how many levels these are. unevenness (): of the whole batch, summed over all levels.
    """

    latent: Tensor
    codes: list[Tensor]
    projected: list[Tensor]
    commitment: Tensor
    codebook: Tensor
    num_codebooks: Tensor
    unevenness: Tensor


def quantize(
    quantizer: ResidualVectorQuantize,
    latent: Tensor,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
    valid_frames: Tensor | None = None,
    *,
    unit: bool = False,
    noise: float | None = None,
) -> Quantized:
    """Quantize a latent (B, C, T), T a multiple of all strides; in float32 at least, whatever the autocast.

    Without dropout the latent and the codes equal those of upstream's forward bit for bit.

    Args:
        dropout: probability that an item's latent is the sum of a random number of codebooks, each from 1 to all
            equally likely (Zeghidour et al. 2021, arXiv:2107.03312); the levels left out give it no loss.
        generator: on the CPU, of these draws; None = torch's global one.
        valid_frames: (B,) leading frames that are real; None = all. Only tokens of real frames carry loss.
        unit: scale projections to the length sqrt(D). noise: instead of codebooks, of this relative deviation.
    """
    # Nearest entries are chosen by distances that half precision would round to ties.
    with torch.autocast(latent.device.type, enabled=False):
        residual = latent if latent.dtype == torch.float64 else latent.float()
        drawn = _draw_num_codebooks(len(latent), quantizer.n_codebooks, dropout, generator)
        num_codebooks = drawn.to(latent.device, non_blocking=True)  # a GPU is not waited for
        summed = torch.zeros_like(residual)
        commitment = codebook = residual.new_zeros(len(latent))
        unevenness = residual.new_zeros(())
        codes, projected = [], []
        for i, level in enumerate(quantizer.quantizers):
            seen = project(level, residual, unit)
            step = _quantize_level(level, seen) if noise is None else _noisy_level(level, seen, noise, generator)
            kept = num_codebooks > i
            valid = token_mask(seen[:, 0], level.stride, valid_frames)
            mask = valid & kept[:, None]
            commitment = commitment + _token_mean(step.projected - step.entries.detach(), mask)
            codebook = codebook + _token_mean(step.projected.detach() - step.entries, mask)
            unevenness = unevenness + _unevenness(seen, valid)
            summed = summed + (step.latent if dropout == 0 else step.latent * kept[:, None, None])
            # Not detached: the levels below also train the projections of those above.
            residual = residual - step.latent
            projected.append(seen)
            codes += [] if step.codes is None else [step.codes]
    return Quantized(summed, codes, projected, commitment, codebook, num_codebooks, unevenness)


def project(level: Any, residual: Tensor, unit: bool = False) -> Tensor:
    """What a level looks up for a residual (B, C, T): (B, D, T_i), with `unit` of the length sqrt(D)."""
    assert isinstance(level, VectorQuantize)
    pooled = F.avg_pool1d(residual, level.stride, level.stride) if level.stride > 1 else residual
    projected: Tensor = level.in_proj(pooled)
    return F.normalize(projected, dim=1) * math.sqrt(projected.shape[1]) if unit else projected


def token_mask(codes: Tensor, stride: int, valid_frames: Tensor | None) -> Tensor:
    """(B, T_i) like the codes of a level: true where a token's frames are real."""
    if valid_frames is None:
        return torch.ones_like(codes, dtype=torch.bool)
    ends = (torch.arange(codes.shape[1], device=codes.device) + 1) * stride
    return ends <= valid_frames.to(codes.device)[:, None]


_OF_A_CODEBOOK = ("usage", "perplexity", "dead", "tokens")


class CodebookUsage:
    """How evenly codebooks are used over many codes; counts (num_codebooks, codebook_size) int64 may be added up."""

    def __init__(self, codebook_size: int, strides: Sequence[int]) -> None:
        self.strides = tuple(strides)
        self.counts = torch.zeros(len(self.strides), codebook_size, dtype=torch.int64)

    @classmethod
    def of(cls, quantizer: ResidualVectorQuantize) -> "CodebookUsage":
        """Empty counts for a quantizer's codebooks."""
        return cls(quantizer.codebook_size, [level.stride for level in quantizer.quantizers])

    def update(self, codes: Sequence[Tensor], valid_frames: Tensor | None = None) -> None:
        """Count codes[i] (B, T_i), only those of real frames (B,)."""
        for counts, tokens, stride in zip(self.counts, codes, self.strides, strict=True):
            chosen = tokens[token_mask(tokens, stride, valid_frames)].cpu()
            counts += torch.bincount(chosen, minlength=len(counts))

    def summed(self, total: Callable[[Tensor], Tensor]) -> "CodebookUsage":
        """Itself, its counts (num_codebooks, codebook_size) replaced by what `total` makes of them."""
        self.counts = total(self.counts)
        return self

    def names(self) -> list[str]:
        """Names of the metrics."""
        return [f"codebook/{i}/{name}" for i in range(len(self.strides)) for name in _OF_A_CODEBOOK]

    def metrics(self) -> dict[str, float]:
        """`codebook/I/usage`: share of entries chosen at least once; `dead`: number of the others; `perplexity`: exp of
        the entropy of choices, from 1 to the codebook's size. None can exceed what the number of tokens allows.

        Raises:
            ValueError: nothing was counted.
        """
        if not self.counts.any(dim=1).all():
            raise ValueError("no valid code was counted, so there is no usage")
        metrics: dict[str, float] = {}
        for i, counts in enumerate(self.counts.double()):
            used = int((counts > 0).sum())
            entropy = torch.special.entr(counts / counts.sum()).sum()
            values = used / len(counts), float(entropy.exp()), float(len(counts) - used), float(counts.sum())
            metrics |= {f"codebook/{i}/{name}": value for name, value in zip(_OF_A_CODEBOOK, values, strict=True)}
        return metrics


@dataclass(frozen=True)
class _Step:
    """One level: latent (B, C, T), with the straight-through graph; projected, entries (B, D, T_i); codes (B, T_i)."""

    latent: Tensor
    projected: Tensor
    entries: Tensor
    codes: Tensor | None


def _quantize_level(level: Any, projected: Tensor) -> _Step:
    """The operations of `VectorQuantize.forward` on projections (B, D, T_i), keeping what the losses compare."""
    with torch.no_grad():  # a choice has no gradient, and its distances to all entries need not be kept
        codes = level.decode_latents(projected)[1]
    entries = level.decode_code(codes)
    return _Step(_back(level, projected + (entries - projected).detach()), projected, entries, codes)


def _noisy_level(level: Any, projected: Tensor, noise: float, generator: torch.Generator | None) -> _Step:
    """The same of projections (B, D, T_i) with noise in place of rounding; both losses are 0."""
    scale = noise * projected.detach().square().mean().sqrt()
    drawn = torch.randn(projected.shape, generator=generator).to(projected)
    return _Step(_back(level, projected + scale * drawn), projected, projected, None)


def _back(level: Any, rounded: Tensor) -> Tensor:
    """From codebook space (B, D, T_i) to the latent's (B, C, T)."""
    latent: Tensor = level.out_proj(rounded)
    return latent.repeat_interleave(level.stride, dim=-1) if level.stride > 1 else latent


def _draw_num_codebooks(
    num_items: int, num_codebooks: int, dropout: float, generator: torch.Generator | None
) -> Tensor:
    """How many codebooks make each item's latent, (B,); item by item, so that micro-batches draw what a batch would."""
    every = torch.full((num_items,), num_codebooks)
    if dropout == 0:
        return every
    # Both draws per item even where nothing is dropped, so that an item's draw does not depend on the others.
    dropped, share = torch.rand(num_items, 2, generator=generator).unbind(1)
    return torch.where(dropped < dropout, 1 + (share * num_codebooks).long(), every)


def _token_mean(difference: Tensor, mask: Tensor) -> Tensor:
    """Per item: mean square of (B, D, T_i) over D and the tokens of the mask (B, T_i); 0 where there are none."""
    squares = difference.square().mean(dim=1) * mask
    return squares.sum(dim=1) / mask.sum(dim=1).clamp_min(1)


def _unevenness(projected: Tensor, mask: Tensor) -> Tensor:
    """Distance of the second moments of directions (B, D, T_i) from the unit matrix, over the tokens of the mask."""
    directions = F.normalize(projected, dim=1) * mask[:, None]
    dim = projected.shape[1]
    moments = torch.einsum("bdt,bet->de", directions, directions) * (dim / mask.sum().clamp_min(1))
    return (moments - torch.eye(dim, device=moments.device, dtype=moments.dtype)).square().sum() / dim
