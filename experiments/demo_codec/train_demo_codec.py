"""Train the demo codec: a SNAC of under 2 MB, from synthetic speech alone, on one CPU thread.

Straight-through training from random weights ends with one code per level in use, so the work goes in three stages: an
autoencoder whose bottleneck has the quantizer's projections but no codebooks (noise stands in for the rounding), then
spherical k-means of those projections level by level, then training through the codebooks, which follow their members
by exponential moving averages. The state file makes a killed training go on where it stopped.

    python experiments/demo_codec/train_demo_codec.py --output outputs/demo_codec/codec
"""

import argparse
import copy
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from demo_codec_losses import SpectralLoss, envelope_correlation
from measure_demo_codec import HOP, RATE, codebook_usage, mean_stoi, noise_vocoder, training_speech, validation_speech
from snac import SNAC
from torch import Tensor, nn

from snac_exp.codec.checkpoint import save_snac
from snac_exp.codec.fast.snake import use_fast_snake
from snac_exp.config.seeding import generator
from snac_exp.system.files import atomic_path

CONFIG: dict[str, Any] = {
    "sampling_rate": 24000,
    "encoder_dim": 8,
    "encoder_rates": [4, 8, 4, 4],
    "decoder_dim": 160,
    "decoder_rates": [8, 4, 4, 4],
    "attn_window_size": None,
    "codebook_size": 1024,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
BOTTLENECK_NOISE = 0.3  # about the error of 9 bits on a sphere in 8 dimensions, relative to the signal
CODEBOOK_DECAY = 0.98
INERTIA_TOKENS = 16 * 24  # k-means centres weigh as much as the tokens of a few steps


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    speech = training_speech(args.minutes_of_speech, args.seed)
    references = validation_speech(4, 2, 4.0)
    baseline = mean_stoi([noise_vocoder(reference) for reference in references], references)
    print(f"{len(speech) / RATE / 60:.1f} minutes of speech; noise vocoder STOI {baseline:.3f}", flush=True)

    model = use_fast_snake(SNAC(**CONFIG))
    standardise_layers(model, training_batch(speech, 64, args.segment_frames, args.seed, -1))
    averaged = copy.deepcopy(model).requires_grad_(False)
    trained = [p for name, p in model.named_parameters() if "codebook" not in name]
    optimizer = torch.optim.AdamW(trained, lr=args.lr, betas=(0.8, 0.99), weight_decay=1e-4)
    codebooks = [CodebookAverage(q.codebook.weight) for q in model.quantizer.quantizers]
    losses = SpectralLoss()
    first_step = load_state(args.state, model, averaged, optimizer, codebooks)
    codes_from = round(args.steps * args.autoencoder_share)
    started = time.monotonic()

    for step in range(first_step, args.steps):
        if step == codes_from:
            start_codebooks(model, codebooks, speech, args.seed)
        set_learning_rate(optimizer, args.lr, step, args.steps)
        target = training_batch(speech, args.batch_size, args.segment_frames, args.seed, step)
        latent, commitment, unevenness = bottleneck(model, target, codebooks if step >= codes_from else None)
        output = model.decoder(latent)
        loss = losses(output, target) + 0.25 * commitment + 0.1 * unevenness
        if step >= codes_from:
            loss = loss + args.envelope_weight * (1 - envelope_correlation(output, target))
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, 1.0)
        if not math.isfinite(float(norm)):
            raise FloatingPointError(f"the gradient norm is {float(norm)} at step {step}")
        optimizer.step()
        follow(averaged, model, min(0.999, (step + 1) / (step + 10)))
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            terms = {"loss": loss, "commitment": commitment, "unevenness": unevenness}
            report(step + 1, terms, averaged, references, step >= codes_from, started)
            save_state(args.state, step + 1, model, averaged, optimizer, codebooks)
            if step >= codes_from:
                save_snac(averaged, args.output)

    print("measure_demo_codec.py gives the final figures")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for config.json and pytorch_model.bin")
    parser.add_argument(
        "--state", type=Path, default=Path("outputs/demo_codec/state.pt"), help="resumed when it exists"
    )
    parser.add_argument("--minutes-of-speech", type=float, default=25.0)
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--autoencoder-share", type=float, default=0.2, help="share of the steps before the codebooks")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--segment-frames", type=int, default=24, help="frames of 512 samples, a multiple of 4")
    parser.add_argument("--envelope-weight", type=float, default=1.0, help="of 1 - correlation, once codes are in use")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--report-every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def training_batch(speech: Tensor, batch_size: int, num_frames: int, seed: int, step: int) -> Tensor:
    """Random segments at random levels, (B, 1, num_frames * 512)."""
    rng = generator(seed, "codec_batch", step)
    starts = rng.integers(0, len(speech) - num_frames * HOP, size=batch_size)
    gains = torch.from_numpy(10 ** (rng.uniform(-8, 0, size=(batch_size, 1, 1)) / 20)).float()
    return gains * torch.stack([speech[start : start + num_frames * HOP] for start in starts])[:, None]


@torch.no_grad()
def standardise_layers(model: SNAC, audio: Tensor) -> None:
    """Give every layer's output zero mean and a fixed deviation on `audio` (B, 1, N), in the order of the forward pass.

    PyTorch's default start lets the signal shrink from layer to layer until the biases are all the decoder sees
    (Mishkin and Matas, "All you need is a good init", 2016). Residual branches start small, noise gains smaller.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            deviation = 0.05 if name.endswith("linear") else 0.3 if name.endswith("block.3") else 1.0
            module.register_forward_hook(partial(standardise, 0.1 if name == "decoder.model.7" else deviation))
    model.decoder(bottleneck(model, audio, None)[0])
    for module in model.modules():
        module._forward_hooks.clear()


def standardise(deviation: float, layer: Any, _: Any, output: Tensor) -> Tensor:
    """Rescale one weight-normed layer to outputs of this deviation and no mean; returns the corrected output."""
    transposed = isinstance(layer, nn.ConvTranspose1d)  # its weight norm is per input channel: one scale for all
    factor = deviation / (output.std().expand(output.shape[1]) if transposed else output.std((0, 2)))
    layer.parametrizations.weight.original0.mul_(factor[0] if transposed else factor[:, None, None])
    if layer.bias is None:
        return output * factor[:, None]
    mean = output.mean((0, 2))
    layer.bias.copy_((layer.bias - mean) * factor)
    corrected: Tensor = (output - mean[:, None]) * factor[:, None]
    return corrected


def project(quantizer: Any, residual: Tensor) -> Tensor:
    """Directions in codebook space, (B, 8, T / stride), of length sqrt(8); SNAC picks codes by direction alone."""
    pooled = F.avg_pool1d(residual, quantizer.stride, quantizer.stride)
    return F.normalize(quantizer.in_proj(pooled), dim=1) * math.sqrt(CONFIG["codebook_dim"])


class CodebookAverage:
    """A codebook whose vectors are moving averages of their members (van den Oord et al. 2017, appendix A.1)."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.counts = torch.ones(len(weight))
        self.sums = weight.detach().clone()

    @torch.no_grad()
    def update(self, members: Tensor, indices: Tensor) -> None:
        """Move to `members` (N, 8) that chose `indices` (N,); codes hardly ever chosen restart at a random member."""
        chosen = F.one_hot(indices, len(self.weight)).float()
        self.counts.mul_(CODEBOOK_DECAY).add_(chosen.sum(0), alpha=1 - CODEBOOK_DECAY)
        self.sums.mul_(CODEBOOK_DECAY).add_(chosen.T @ members, alpha=1 - CODEBOOK_DECAY)
        dead = self.counts < 0.05 * self.counts.mean()
        fresh = members[torch.randint(len(members), (int(dead.sum()),))]
        fresh_count = self.counts.mean()
        self.counts[dead] = fresh_count
        self.sums[dead] = fresh * fresh_count
        self.weight.data.copy_(self.sums / self.counts[:, None])


def uneven(projected: Tensor) -> Tensor:
    """How unevenly directions fill the sphere: squared difference of their second moments from the identity, over 8.

    Left alone, the projections fill two of the eight dimensions, and the codes spend their bits on these two.
    """
    points = projected.transpose(1, 2).flatten(0, 1)
    moments = points.T @ points / len(points)
    return (moments - torch.eye(len(moments))).square().sum() / len(moments)


def bottleneck(model: SNAC, audio: Tensor, codebooks: list[CodebookAverage] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Latent (B, C, T), commitment loss and unevenness of all levels; without codebooks, noise stands for rounding."""
    residual = model.encoder(audio)
    latent, commitment, unevenness = torch.zeros_like(residual), residual.new_zeros(()), residual.new_zeros(())
    for level, quantizer in enumerate(model.quantizer.quantizers):
        projected = project(quantizer, residual)
        unevenness = unevenness + uneven(projected)
        if codebooks is None:
            rounded = projected + BOTTLENECK_NOISE * torch.randn_like(projected)
        else:
            code, indices = quantizer.decode_latents(projected)
            codebooks[level].update(projected.detach().transpose(1, 2).flatten(0, 1), indices.flatten())
            commitment = commitment + F.mse_loss(projected, code.detach())
            rounded = projected + (code - projected).detach()
        step = quantizer.out_proj(rounded).repeat_interleave(quantizer.stride, dim=-1)
        latent, residual = latent + step, residual - step
    return latent, commitment, unevenness


@torch.no_grad()
def start_codebooks(model: SNAC, codebooks: list[CodebookAverage], speech: Tensor, seed: int) -> None:
    """K-means on the sphere, level by level: each level sees the residual that the levels before it leave."""
    rows = speech[: len(speech) // (64 * HOP) * 64 * HOP].view(-1, 1, 64 * HOP)
    residual = torch.cat([model.encoder(part) for part in rows.chunk(math.ceil(len(rows) / 16))])
    for quantizer, codebook in zip(model.quantizer.quantizers, codebooks, strict=True):
        points = project(quantizer, residual).transpose(1, 2).flatten(0, 1)
        rng = generator(seed, "codec_kmeans", quantizer.stride)
        centres = points[torch.from_numpy(rng.choice(len(points), len(codebook.weight), replace=False))]
        for _ in range(25):
            nearest = (points @ F.normalize(centres).T).argmax(1)
            counts = torch.bincount(nearest, minlength=len(centres)).float()
            means = torch.zeros_like(centres).index_add_(0, nearest, points) / counts.clamp(min=1)[:, None]
            centres = torch.where(counts[:, None] > 0, means, centres)
        codebook.weight.data.copy_(centres)
        codebook.counts.copy_(counts.clamp(min=1) / counts.sum() * INERTIA_TOKENS / quantizer.stride)
        codebook.sums.copy_(centres * codebook.counts[:, None])
        code, _ = quantizer.decode_latents(project(quantizer, residual))
        residual = residual - quantizer.out_proj(code).repeat_interleave(quantizer.stride, dim=-1)


def set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, num_steps: int) -> None:
    """Linear warm-up over 100 steps, then half a cosine down to 1 % of the peak."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / num_steps))
    optimizer.param_groups[0]["lr"] = peak * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * cosine)


@torch.no_grad()
def follow(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; codebooks are averages already and are copied."""
    for (name, slow), fast in zip(averaged.named_parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1.0 if "codebook" in name else 1 - decay)


@torch.no_grad()
def reconstruct(model: SNAC, audio: Tensor, with_codes: bool) -> Tensor:
    """Audio (N,) through the codec; without codes, through the bare bottleneck."""
    padded = model.preprocess(audio[None, None])
    latent = model.quantizer(model.encoder(padded))[0] if with_codes else bottleneck(model, padded, None)[0]
    decoded: Tensor = model.decoder(latent)
    return decoded[0, 0, : len(audio)]


def report(
    step: int, terms: dict[str, Tensor], model: SNAC, references: list[Tensor], with_codes: bool, started: float
) -> None:
    stoi = mean_stoi([reconstruct(model, reference, with_codes) for reference in references], references)
    usage = [round(share, 2) for share in codebook_usage(model, references)] if with_codes else []
    line = "  ".join(f"{name} {value.item():.3f}" for name, value in terms.items())
    print(f"step {step}  {line}  stoi {stoi:.3f}  usage {usage}  {time.monotonic() - started:.0f} s", flush=True)


def save_state(
    path: Path, step: int, model: SNAC, averaged: SNAC, optimizer: torch.optim.Optimizer, codebooks: list[Any]
) -> None:
    state = {
        name: part.state_dict() for name, part in (("model", model), ("averaged", averaged), ("optimizer", optimizer))
    }
    state["codebooks"] = [{"counts": codebook.counts, "sums": codebook.sums} for codebook in codebooks]
    state |= {"step": step, "random": torch.get_rng_state()}
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path, model: SNAC, averaged: SNAC, optimizer: torch.optim.Optimizer, codebooks: list[Any]) -> int:
    """Restore everything from the state file, if there is one; returns the next step."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    for codebook, stored in zip(codebooks, state["codebooks"], strict=True):
        codebook.counts, codebook.sums = stored["counts"], stored["sums"]
    torch.set_rng_state(state["random"])
    return int(state["step"])


if __name__ == "__main__":
    main()
