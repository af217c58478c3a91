"""What folding the weight norm and dropping the backward pass of the activations saves when decoding.

python benchmarks/fused_decode.py [--checkpoint CODEC] [--threads N] [--device cpu|cuda]

Without a checkpoint: random weights in the shape of snac_24khz with a 48 kHz head; weights do not change the time. Both
forms decode the same latents by turns in one process; the table gives medians and their ratio, and says whether the
samples are equal.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.release_models import open_or_random
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.release.folding import fold


def timed(function: Callable[[], Tensor], device: str) -> float:
    """Seconds of one call; on a CPU those that this process got, so that others at work beside it count less."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    started = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def decode(model: MultiRateSnac, latent: Tensor) -> Tensor:
    """All outputs of one latent; noise from torch's generator, seeded alike for both."""
    torch.manual_seed(0)
    return torch.cat([waveform.flatten() for waveform in model(model.features(latent)).values()])


def main() -> None:
    """Print a row per length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trained = open_or_random(options.checkpoint).to(options.device).requires_grad_(False)
    fused = fold(copy.deepcopy(trained))
    channels = fused.quantizer.quantizers[0].out_proj.weight.shape[0]
    rate = fused.geometry.sampling_rate / fused.geometry.hop_length
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads, {options.repeats} repeats")
    print(f"{'latent':>10} {'as trained':>12} {'fused':>12} {'ratio':>7}  samples")
    for num_frames in (24, 47, 234):
        latent = torch.randn(1, channels, num_frames, device=options.device)
        with torch.no_grad():
            equal = torch.equal(decode(trained, latent), decode(fused, latent))
            pairs = [
                tuple(timed(partial(decode, codec, latent), options.device) for codec in (trained, fused))
                for _ in range(options.repeats)
            ]
        before, after = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(first / second for first, second in pairs)
        print(
            f"{num_frames / rate:>8.2f} s {before * 1e3:>9.1f} ms {after * 1e3:>9.1f} ms {ratio:>6.2f}x  "
            f"{'equal' if equal else 'DIFFERENT'}"
        )


if __name__ == "__main__":
    main()
