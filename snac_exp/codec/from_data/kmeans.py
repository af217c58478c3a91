"""Codebooks that begin at the centres of what they quantize, level by level."""

import torch
import torch.nn.functional as F
from snac.vq import ResidualVectorQuantize
from torch import Tensor

from snac_exp.codec.quantization import project, token_mask
from snac_exp.config.seeding import generator
from snac_exp.errors import CodecError

NUM_ITERATIONS = 25
_CHUNK = 16_384  # points whose distances to all centres are held at a time


@torch.no_grad()
def start_codebooks(
    quantizer: ResidualVectorQuantize, latent: Tensor, valid_frames: Tensor, seed: int, *, unit: bool
) -> list[Tensor]:
    """Set every codebook to the centres of spherical k-means of the projections of a latent (B, C, T) on the CPU.

    Each level sees the residual that the levels before leave with their new codebooks. A function of its arguments.

    Args:
        valid_frames: (B,) leading frames that are real.
        unit: projections have the length sqrt(D), see `snac_exp.codec.quantization.quantize`.

    Returns:
        Per level how many tokens each entry has, (codebook_size,).

    Raises:
        CodecError: a level has fewer tokens than entries.
    """
    residual, counts = latent.cpu().float(), []
    for i, level in enumerate(quantizer.quantizers):
        projected = project(level, residual, unit)
        mask = token_mask(projected[:, 0], level.stride, valid_frames.cpu())
        points = projected.transpose(1, 2)[mask]
        size = len(level.codebook.weight)
        if len(points) < size:
            raise CodecError(
                f"start.kmeans_batches: codebook {i} has {size} entries and these batches only {len(points)} tokens; "
                "raise it"
            )
        first = generator(seed, "kmeans", i).choice(len(points), size, replace=False)
        centres, members = spherical_kmeans(points, points[torch.from_numpy(first)])
        level.codebook.weight.copy_(centres)
        counts.append(members)
        entries = level.decode_code(level.decode_latents(projected)[1])
        residual = residual - level.out_proj(entries).repeat_interleave(level.stride, dim=-1)
    return counts


def spherical_kmeans(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Centres (K, D) moved to the means of the points (N, D) whose directions are nearest to theirs, and how many each
    has, (K,); a centre that no point is nearest to stays."""
    directions = F.normalize(points, dim=1)
    for _ in range(NUM_ITERATIONS):
        nearest = _nearest(directions, centres)
        counts = torch.bincount(nearest, minlength=len(centres)).to(points)
        means = torch.zeros_like(centres).index_add_(0, nearest, points) / counts.clamp_min(1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, centres)
    return centres, torch.bincount(_nearest(directions, centres), minlength=len(centres)).to(points)


def _nearest(directions: Tensor, centres: Tensor) -> Tensor:
    """Index of the centre (K, D) of the nearest direction for each of (N, D), (N,)."""
    targets = F.normalize(centres, dim=1).T
    starts = range(0, len(directions), _CHUNK)
    return torch.cat([(directions[start : start + _CHUNK] @ targets).argmax(1) for start in starts])
