"""The first generation, written plainly: upstream's modules, one STFT per signal and size, nothing kept for later.

This is what the figures of this folder are measured against. It follows the recipes, minus their silent failures.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from snac import SNAC
from snac.layers import DecoderBlock, Snake1d, WNConv1d
from torch import Tensor, nn

N_FFTS = {"head_24k": (1024, 2048, 4096), "head_48k": (1024, 2048, 4096, 8192)}
MAIN = {"head_24k": 0.3, "head_48k": 1.0}
WARMUP = {"head_24k": 0.0, "head_48k": 1.0}


class PlainDualHead(nn.Module):
    """The decoder up to its last three layers as trunk, those layers, and a 2x block with last layers of its own."""

    def __init__(self, snac: SNAC) -> None:
        super().__init__()
        self.quantizer = copy.deepcopy(snac.quantizer)
        layers = list(copy.deepcopy(snac.decoder.model))
        width = layers[-3].alpha.shape[1]
        self.trunk = nn.Sequential(*layers[:-3])
        self.head_24k = nn.Sequential(*layers[-3:])
        self.head_48k = nn.Sequential(
            DecoderBlock(width, width, stride=2, noise=False, groups=width),
            Snake1d(width),
            WNConv1d(width, 1, kernel_size=7, padding=3),
            nn.Tanh(),
        )

    def forward(self, codes: Sequence[Tensor]) -> dict[str, Tensor]:
        """Codes[i] (B, T_i) -> both waveforms."""
        with torch.no_grad():
            latent = self.quantizer.from_codes(list(codes))
        features = self.trunk(latent)
        return {"head_24k": self.head_24k(features), "head_48k": self.head_48k(features)}


def stft_loss(prediction: Tensor, target: Tensor, n_ffts: Sequence[int]) -> Tensor:
    """Mean over sizes of L1 of real plus L1 of imaginary parts; torch.stft's defaults."""
    distances = []
    for n_fft in n_ffts:
        p, y = (torch.stft(signal.squeeze(1), n_fft, return_complex=True) for signal in (prediction, target))
        distances.append((p.real - y.real).abs().mean() + (p.imag - y.imag).abs().mean())
    return torch.stack(distances).mean()


def loss(waveforms: Mapping[str, Tensor], audio: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """L1 plus complex STFT of every head, weighted; a head of weight 0 is computed all the same."""
    terms = [
        weights[head] * ((wave - audio[head]).abs().mean() + stft_loss(wave, audio[head], N_FFTS[head]))
        for head, wave in waveforms.items()
    ]
    return torch.stack(terms).sum()


def step(
    model: PlainDualHead,
    optimizer: torch.optim.Optimizer,
    codes: Sequence[Tensor],
    audio: Mapping[str, Tensor],
    weights: Mapping[str, float],
) -> float:
    """One optimiser step; the loss."""
    optimizer.zero_grad()
    total = loss(model(codes), audio, weights)
    total.backward()
    nn.utils.clip_grad_norm_((p for p in model.parameters() if p.grad is not None), 1.0)
    optimizer.step()
    return total.item()
