"""Train the demo codec: a SNAC of under 2 MB, from synthetic speech alone, on one CPU thread.

Straight-through training from random weights ends with one code per level in use, so the work goes in three stages: an
autoencoder whose bottleneck has the quantizer's projections but no codebooks (noise stands in for the rounding), then
spherical k-means of those projections level by level, then training through the codebooks, which follow their members
by exponential moving averages. The state file makes a killed training go on where it stopped.

    python experiments/demo_codec/train_demo_codec.py --output snac_exp/assets/demo_codec --steps 4500
"""

import argparse
import copy
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from snac import SNAC
from torch import Tensor, nn
from torchmetrics.functional.audio import short_time_objective_intelligibility

from snac_exp.config.seeding import derive_seed, generator
from snac_exp.data.demo_speech import SAMPLE_RATE, synthesize_utterance, voices
from snac_exp.files import atomic_path, write_json
from snac_exp.torchaudio_shim import functional as F_audio

CONFIG: dict[str, Any] = {
    "sampling_rate": 24000,
    "encoder_dim": 8,
    "encoder_rates": [4, 8, 4, 4],
    "decoder_dim": 176,
    "decoder_rates": [8, 4, 4, 4],
    "attn_window_size": None,
    "codebook_size": 512,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
RATE, HOP = 24_000, 512
NUM_TRAIN_VOICES = 48
LOSS_WINDOWS = {2048: 80, 1024: 64, 512: 40, 256: 24}  # STFT window: mel bands
BOTTLENECK_NOISE = 0.3  # about the error of 9 bits on a sphere in 8 dimensions, relative to the signal
CODEBOOK_DECAY = 0.98


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    speech = training_speech(args.minutes_of_speech, args.seed)
    references = validation_speech(4, 2, 4.0)
    baseline = mean_stoi([noise_vocoder(reference) for reference in references], references)
    print(f"{len(speech) / RATE / 60:.1f} minutes of speech; noise vocoder STOI {baseline:.3f}", flush=True)

    model = SNAC(**CONFIG)
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
        latent, commitment = bottleneck(model, target, codebooks if step >= codes_from else None)
        loss = losses(model.decoder(latent), target) + 0.25 * commitment
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, 1.0)
        if not math.isfinite(float(norm)):
            raise FloatingPointError(f"the gradient norm is {float(norm)} at step {step}")
        optimizer.step()
        follow(averaged, model, min(0.999, (step + 1) / (step + 10)))
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            report(step + 1, loss.item(), commitment.item(), averaged, references, step >= codes_from, started)
            save_state(args.state, step + 1, model, averaged, optimizer, codebooks)
            if step >= codes_from:
                export(averaged, args.output)

    print(json.dumps(final_figures(averaged, baseline), indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for config.json and pytorch_model.bin")
    parser.add_argument(
        "--state", type=Path, default=Path("outputs/demo_codec/state.pt"), help="resumed when it exists"
    )
    parser.add_argument("--minutes-of-speech", type=float, default=25.0)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--autoencoder-share", type=float, default=0.3, help="share of the steps before the codebooks")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--segment-frames", type=int, default=24, help="frames of 512 samples, a multiple of 4")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--report-every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def speech_24khz(seed: int, voice_index: int, utterance: int, seconds: float, validation: bool) -> Tensor:
    """One synthetic utterance at 24 kHz, (N,)."""
    speakers = voices(NUM_TRAIN_VOICES, 4, 0)
    voice = speakers[NUM_TRAIN_VOICES + voice_index] if validation else speakers[voice_index]
    audio = synthesize_utterance(voice, derive_seed(seed, "codec_speech", utterance), seconds)
    return F_audio.resample(torch.from_numpy(audio), SAMPLE_RATE, RATE)


def training_speech(minutes: float, seed: int) -> Tensor:
    """All training speech in one row, (N,): 10 s utterances of every voice in turn."""
    num_utterances = math.ceil(minutes * 6)
    return torch.cat([speech_24khz(seed, i % NUM_TRAIN_VOICES, i, 10.0, False) for i in range(num_utterances)])


def validation_speech(num_voices: int, per_voice: int, seconds: float) -> list[Tensor]:
    """Utterances of voices that are not in training, each (N,)."""
    return [speech_24khz(1, v, u, seconds, True) for v in range(num_voices) for u in range(per_voice)]


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


def standardise(deviation: float, layer: nn.Module, _: Any, output: Tensor) -> Tensor:
    """Rescale one weight-normed layer so that its output has this deviation and no mean; returns the corrected output."""
    transposed = isinstance(layer, nn.ConvTranspose1d)  # its weight norm is per input channel: one scale for all
    factor = deviation / (output.std().expand(output.shape[1]) if transposed else output.std((0, 2)))
    layer.parametrizations.weight.original0.mul_(factor[0] if transposed else factor[:, None, None])
    if layer.bias is None:
        return output * factor[:, None]
    mean = output.mean((0, 2))
    layer.bias.copy_((layer.bias - mean) * factor)
    return (output - mean[:, None]) * factor[:, None]


def project(quantizer: nn.Module, residual: Tensor) -> Tensor:
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
        self.counts[dead] = self.counts.mean()
        self.sums[dead] = fresh * self.counts.mean()
        self.weight.data.copy_(self.sums / self.counts[:, None])


def bottleneck(model: SNAC, audio: Tensor, codebooks: list[CodebookAverage] | None) -> tuple[Tensor, Tensor]:
    """Latent (B, C, T) after the residual levels, and the commitment loss; without codebooks, noise for rounding."""
    residual = model.encoder(audio)
    latent, commitment = torch.zeros_like(residual), residual.new_zeros(())
    for level, quantizer in enumerate(model.quantizer.quantizers):
        projected = project(quantizer, residual)
        if codebooks is None:
            rounded = projected + BOTTLENECK_NOISE * torch.randn_like(projected)
        else:
            code, indices = quantizer.decode_latents(projected)
            codebooks[level].update(projected.detach().transpose(1, 2).flatten(0, 1), indices.flatten())
            commitment = commitment + F.mse_loss(projected, code.detach())
            rounded = projected + (code - projected).detach()
        step = quantizer.out_proj(rounded).repeat_interleave(quantizer.stride, dim=-1)
        latent, residual = latent + step, residual - step
    return latent, commitment


@torch.no_grad()
def start_codebooks(model: SNAC, codebooks: list[CodebookAverage], speech: Tensor, seed: int) -> None:
    """K-means on the sphere, level by level: each level sees the residual that the levels before it leave."""
    rows = torch.stack(speech[: len(speech) // (64 * HOP) * 64 * HOP].split(64 * HOP))[:, None]
    residual = torch.cat([model.encoder(part) for part in rows.split(16)])
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
        codebook.counts.copy_(counts.clamp(min=1) / counts.sum() * 16 * 24 / quantizer.stride)
        codebook.sums.copy_(centres * codebook.counts[:, None])
        code, _ = quantizer.decode_latents(project(quantizer, residual))
        residual = residual - quantizer.out_proj(code).repeat_interleave(quantizer.stride, dim=-1)


class SpectralLoss(nn.Module):
    """Sum over windows of L1 in log mel bands and in STFT magnitude, and a little L1 of the waveform."""

    def __init__(self) -> None:
        super().__init__()
        self.banks = {
            size: F_audio.melscale_fbanks(size // 2 + 1, 0.0, RATE / 2, bands, RATE)
            for size, bands in LOSS_WINDOWS.items()
        }

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        total = 2.0 * (prediction - target).abs().mean()
        for size, bank in self.banks.items():
            ours, theirs = magnitude(prediction, size), magnitude(target, size)
            mel, mel_target = (torch.log((x.transpose(1, 2) @ bank).clamp(min=1e-4)) for x in (ours, theirs))
            total = total + (mel - mel_target).abs().mean() + 0.5 * (ours - theirs).norm() / theirs.norm()
        return total / len(self.banks)


def magnitude(audio: Tensor, size: int) -> Tensor:
    """STFT magnitude of (B, 1, N), Hann, 75 % overlap, where a full-scale sine reads 1; (B, bins, frames)."""
    window = torch.hann_window(size)
    spectrum = torch.stft(audio[:, 0], size, size // 4, window=window, return_complex=True)
    return spectrum.abs() * (2 / window.sum())


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
def reconstruct(model: SNAC, audio: Tensor, with_codes: bool = True) -> Tensor:
    """Audio (N,) through the codec; without codes, through the bare bottleneck."""
    padded = model.preprocess(audio[None, None])
    latent = model.quantizer(model.encoder(padded))[0] if with_codes else bottleneck(model, padded, None)[0]
    return model.decoder(latent)[0, 0, : len(audio)]


def mean_stoi(estimates: list[Tensor], references: list[Tensor]) -> float:
    """STOI (Taal et al. 2011) at its native 10 kHz, averaged over utterances."""
    pairs = [[F_audio.resample(x, RATE, 10_000) for x in pair] for pair in zip(estimates, references, strict=True)]
    return float(np.mean([short_time_objective_intelligibility(ours, theirs, 10_000) for ours, theirs in pairs]))


def noise_vocoder(audio: Tensor, num_bands: int = 80, window: int = 1024) -> Tensor:
    """White noise with the power of `audio` (N,) in mel bands, one frame per 512 samples as in the codec."""
    hann = torch.hann_window(window)
    bank = F_audio.melscale_fbanks(window // 2 + 1, 0.0, RATE / 2, num_bands, RATE)
    power = torch.stft(audio, window, HOP, window=hann, return_complex=True).abs() ** 2
    bands = (bank.T @ power) / bank.sum(0).clamp(min=1e-9)[:, None]
    smooth = bank @ bands / bank.sum(1).clamp(min=1e-9)[:, None]
    noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0))
    carrier = torch.stft(noise, window, HOP, window=hann, return_complex=True) / hann.square().sum().sqrt()
    return torch.istft(carrier * smooth.sqrt(), window, HOP, window=hann, length=len(audio))


def codebook_usage(model: SNAC, audio: list[Tensor]) -> list[float]:
    """Share of each codebook that occurs in the codes of `audio`."""
    codes = [model.encode(part[None, None]) for part in audio]
    return [len(torch.cat(list(level), dim=1).unique()) / model.codebook_size for level in zip(*codes, strict=True)]


def report(
    step: int, loss: float, commitment: float, model: SNAC, references: list[Tensor], with_codes: bool, started: float
) -> None:
    stoi = mean_stoi([reconstruct(model, reference, with_codes) for reference in references], references)
    usage = codebook_usage(model, references) if with_codes else []
    line = f"step {step}  loss {loss:.3f}  commitment {commitment:.3f}  stoi {stoi:.3f}"
    print(f"{line}  usage {[round(u, 2) for u in usage]}  {time.monotonic() - started:.0f} s", flush=True)


def final_figures(model: SNAC, baseline: float) -> dict[str, Any]:
    """The figures of the README: 24 held-out utterances for STOI, 5 minutes for the codebooks."""
    references = validation_speech(4, 6, 4.0)
    return {
        "stoi": mean_stoi([reconstruct(model, reference) for reference in references], references),
        "stoi_noise_vocoder": mean_stoi([noise_vocoder(reference) for reference in references], references),
        "stoi_noise_vocoder_8_utterances": baseline,
        "codebook_usage_5_minutes": codebook_usage(model, validation_speech(4, 15, 5.0)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def save_state(
    path: Path, step: int, model: SNAC, averaged: SNAC, optimizer: torch.optim.Optimizer, codebooks: list[Any]
) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    state["codebooks"] = [{"counts": codebook.counts, "sums": codebook.sums} for codebook in codebooks]
    state["random"] = torch.get_rng_state()
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


def export(model: SNAC, folder: Path) -> None:
    """Write the codec in upstream's layout."""
    write_json(folder / "config.json", CONFIG)
    with atomic_path(folder / "pytorch_model.bin") as temporary:
        torch.save(model.state_dict(), temporary)


if __name__ == "__main__":
    main()
