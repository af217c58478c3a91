"""The recipe once more in plain PyTorch: upstream's SNAC, torch's losses and optimizer, soundfile, item by item.

Nothing here calls the code under test, but for the draw of rows and starts, which has tests of its own. What a run logs
and saves must come out here too: which samples are scored, against which file, with how much context, how gradients are
clipped, weights decayed and averaged.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from snac import SNAC
from snac.layers import DecoderBlock, Snake1d, WNConv1d
from torch import Tensor, nn

HOP = 512  # samples of the codec per frame; one coarse token is four frames
STRIDES = (4, 2, 1)  # frames per token of each codebook
COARSE = HOP * STRIDES[0]  # samples per coarse token
RATES = {"head_24k": 24_000, "head_48k": 48_000}
Slice = tuple[int, int]  # number of the file, first coarse token


@dataclass(frozen=True)
class Utterance:
    """A source file, its target at 48 kHz, and the codes[i] (T_i,) of the whole file."""

    audio: Mapping[str, Tensor]  # head -> (N at its rate,)
    codes: Sequence[Tensor]

    @classmethod
    def read(cls, codec: SNAC, source: Path, target: Path) -> "Utterance":
        """Read both files and encode the source, padded to whole coarse tokens."""
        audio = {head: _samples(path, RATES[head]) for head, path in (("head_24k", source), ("head_48k", target))}
        signal = audio["head_24k"]
        padded = nn.functional.pad(signal, (0, -len(signal) % COARSE))
        with torch.no_grad():
            codes = codec.encode(padded[None, None])
        return cls(audio, [tokens[0] for tokens in codes])

    @property
    def num_tokens(self) -> int:
        """Coarse tokens of the whole file."""
        return len(self.codes[0])


def _samples(path: Path, rate: int) -> Tensor:
    samples, its_rate = soundfile.read(path, dtype="float32")
    assert its_rate == rate
    return torch.from_numpy(samples)


def without_noise(codec: SNAC, config: Mapping[str, Any]) -> SNAC:
    """The same codec without its noise blocks, so that every number is certain."""
    quiet = SNAC(**{**config, "noise": False})
    weights = {}
    for name, tensor in codec.state_dict().items():
        found = re.fullmatch(r"(decoder\.model\.\d+\.block\.)(\d+)(\..*)", name)
        if found is None:
            weights[name] = tensor
        elif found[2] != "2":  # 0 Snake, 1 transposed convolution, 2 noise, then the residual units
            weights[f"{found[1]}{int(found[2]) - (int(found[2]) > 2)}{found[3]}"] = tensor
    quiet.load_state_dict(weights)
    return quiet.eval()


class Plain(nn.Module):
    """Trunk and two heads of upstream's layers, under the names that checkpoints give them."""

    def __init__(self, codec: SNAC) -> None:
        super().__init__()
        *trunk, snake, conv, _ = codec.decoder.model
        channels = snake.alpha.shape[1]
        wide = {
            "block": DecoderBlock(channels, channels, stride=2, noise=False, groups=channels),
            "snake": Snake1d(channels),
            "conv": WNConv1d(channels, 1, kernel_size=7, padding=3),
        }
        self.quantizer, self.trunk = codec.quantizer, nn.Sequential(*trunk)
        self.heads = nn.ModuleDict(
            {"head_24k": nn.ModuleDict({"snake": snake, "conv": conv}), "head_48k": nn.ModuleDict(wide)}
        )

    def take(self, weights: Mapping[str, Tensor]) -> "Plain":
        """Load the weights of a checkpoint, the encoder's left out."""
        own = {name: tensor for name, tensor in weights.items() if not name.startswith("encoder.")}
        self.load_state_dict(own)
        return self

    def forward(self, codes: Sequence[Tensor], num_tokens: int) -> dict[str, Tensor]:
        """Codes[i] (T_i,), with silence in the latent up to `num_tokens` coarse tokens -> head -> (N at its rate,)."""
        with torch.no_grad():
            latent = self.quantizer.from_codes([tokens[None] for tokens in codes])
            latent = nn.functional.pad(latent, (0, num_tokens * STRIDES[0] - latent.shape[-1]))
        x = self.trunk(latent)
        waveforms = {}
        for name, head in self.heads.items():
            y = head["block"](x) if "block" in head else x
            waveforms[name] = torch.tanh(head["conv"](head["snake"](y)))[0, 0]
        return waveforms

    def scored(self, item: Utterance, start: int, length: int, context: int) -> dict[str, tuple[Tensor, Tensor]]:
        """head -> output and target (N,) of `length` coarse tokens from `start`, only the samples that are real."""
        window = length + 2 * context
        first = min(max(start - context, 0), max(item.num_tokens - window, 0))
        frames = slice(first * STRIDES[0], (first + window) * STRIDES[0])
        codes = [
            tokens[frames.start // stride : frames.stop // stride]
            for tokens, stride in zip(item.codes, STRIDES, strict=True)
        ]
        pairs = {}
        for head, waveform in self(codes, window).items():
            scale = RATES[head] // 24_000
            target = item.audio[head][start * COARSE * scale : (start + length) * COARSE * scale]
            begin = (start - first) * COARSE * scale
            pairs[head] = (waveform[begin : begin + len(target)], target)
        return pairs


def terms(
    pairs: Sequence[Mapping[str, tuple[Tensor, Tensor]]], n_ffts: Mapping[str, list[int]], length: int
) -> dict[str, Tensor]:
    """`head/term` of slices of `length` coarse tokens: means over all real samples, or frames whose centre is real."""
    found = {}
    for head, sizes in n_ffts.items():
        signals = [item[head] for item in pairs]
        num_samples = length * COARSE * RATES[head] // 24_000
        errors = torch.cat([output - target for output, target in signals])
        found[f"{head}/l1"] = errors.abs().mean()
        by_size = [_spectral(signals, size, num_samples) for size in sizes]
        found[f"{head}/stft_complex"] = torch.stack([item[0] for item in by_size]).mean()
        found[f"{head}/stft_magnitude"] = torch.stack([item[1] for item in by_size]).mean()
    return found


def _spectral(signals: Sequence[tuple[Tensor, Tensor]], size: int, num_samples: int) -> tuple[Tensor, Tensor]:
    """Mean |Re| + |Im| of the difference of spectra, and mean difference of magnitudes."""
    complex_, magnitude = [], []
    for output, target in signals:
        padding = (0, num_samples - len(target))
        x, y = (_stft(nn.functional.pad(signal, padding), size) for signal in (output, target))
        real = slice(0, len(target) // (size // 4) + 1)  # frames (bins, frames) are centred at multiples of size / 4
        complex_.append((x - y).real.abs().mean(0)[real] + (x - y).imag.abs().mean(0)[real])
        magnitude.append((x.abs() - y.abs()).abs().mean(0)[real])
    return torch.cat(complex_).mean(), torch.cat(magnitude).mean()


def _stft(signal: Tensor, size: int) -> Tensor:
    window = torch.ones(size)
    return torch.stft(signal, size, size // 4, window=window, center=True, pad_mode="reflect", return_complex=True)


def lsd_high(reference: Tensor, estimate: Tensor) -> float:
    """Log-spectral distance above 12 kHz of (N,) at 48 kHz, in dB: 32 bands, 80 dB below the peak at least, frames in
    which the reference has a band above that."""
    bands, peaks = [], []
    for signal in (reference, estimate):
        padded = np.pad(signal.numpy().astype(np.float64), 1024, mode="reflect")
        starts = np.arange(0, len(padded) - 2047, 512)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
        power = np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(2048)] * window)) ** 2
        bands.append(power[:, 512:1024].reshape(len(starts), 32, 16).mean(-1))
        peaks.append(power.max())
    floor = peaks[0] * 1e-8
    levels = [10 * np.log10(np.maximum(item, floor)) for item in bands]
    distance = np.sqrt(((levels[0] - levels[1]) ** 2).mean(-1))
    return float(distance[(bands[0] > floor).any(-1)].mean())


def context_of(codec: SNAC) -> int:
    """Coarse tokens on either side that change what the decoder puts out: found by changing them."""
    width = 12
    codes = [torch.zeros(1, width * 4 // stride, dtype=torch.int64) for stride in STRIDES]
    with torch.no_grad():
        latent = codec.quantizer.from_codes(codes)
        changed = latent.clone()
        changed[..., width // 2 * 4 : (width // 2 + 1) * 4] += 1.0
        differs = (codec.decoder(latent) != codec.decoder(changed))[0, 0].view(width, COARSE).any(1)
    first, last = differs.nonzero()[0].item(), differs.nonzero()[-1].item()
    return max(width // 2 - first, last - width // 2)


def distance(one: Iterable[tuple[str, Tensor]], other: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> float:
    """How far weights are from others, in parts of the way that the others have gone from a start."""
    apart = gone = 0.0
    for name, tensor in one:
        apart += float((tensor - other[name]).double().square().sum())
        gone += float((start[name] - other[name]).double().square().sum())
    return (apart / gone) ** 0.5
