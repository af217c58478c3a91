"""Real-time factor of streamed decoding: seconds of computing per second of audio, by how much is pushed at a time.

python benchmarks/stream_rtf.py [--checkpoint CODEC] [--threads N] [--device cpu|cuda] [--seconds 10]

Without a checkpoint: random weights in the shape of snac_24khz with a 48 kHz head. Beside it stands decoding in chunks
of 5 s (`offline`), in the same process. Below 1 is faster than real time.
"""

import argparse
import time

import torch
from torch import Tensor

from benchmarks.release_models import SNAC_24KHZ, open_or_random
from snac_exp.release.blueprint import Blueprint
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.loading import load_codec

PUSHES = (1, 2, 4, 12)


def streamed(codec: ReleasedCodec, tokens: list[Tensor], push: int, rate: int) -> tuple[Tensor, float]:
    """All samples, and seconds from the first push to the last sample."""
    stream, parts = codec.stream(rate, seed=0), []
    started = time.perf_counter()
    for start in range(0, tokens[0].shape[1], push):
        slices = [codec.geometry.codebook_slice(i, start, push) for i in range(len(tokens))]
        parts.append(stream.push([row[:, part] for row, part in zip(tokens, slices, strict=True)]).cpu())
    parts.append(stream.finish().cpu())
    return torch.cat(parts, dim=-1), time.perf_counter() - started


def main() -> None:
    """Print a row per output rate and push size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.checkpoint is None:
        codec = ReleasedCodec(open_or_random(None), Blueprint("snac_24khz", SNAC_24KHZ, {}), device=options.device)
    else:
        codec = load_codec(options.checkpoint, device=options.device)
    num_coarse = codec.geometry.coarse_tokens_in(options.seconds)
    lengths = [codec.geometry.codebook_length(i, num_coarse) for i in range(codec.geometry.num_codebooks)]
    sizes = zip(codec.codebook_sizes, lengths, strict=True)
    tokens = [torch.randint(size, (1, length)) for size, length in sizes]
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads, {options.seconds} s of audio")
    print(f"{'output':>8} {'pushed at a time':>22} {'delay':>8} {'RTF':>7}  largest difference to offline")
    for rate in codec.sample_rates:
        streamed(codec, [row[:, : row.shape[1] // num_coarse] for row in tokens], 1, rate)  # warm up
        started = time.perf_counter()
        offline = codec.decode(tokens, rate, seed=0).cpu()
        seconds = offline.shape[-1] / rate
        print(f"{rate:>8} {'offline':>22} {'':>8} {(time.perf_counter() - started) / seconds:>7.3f}")
        for push in (size for size in PUSHES if size % codec.geometry.coarse_step == 0):
            audio, taken = streamed(codec, tokens, push, rate)
            pushed = f"{push} coarse ({push * codec.geometry.coarse_hop / codec.sampling_rate * 1e3:.0f} ms)"
            delay = f"{codec.stream(rate).delay_seconds * 1e3:.0f} ms"
            difference = (audio - offline).abs().max().item()
            print(f"{rate:>8} {pushed:>22} {delay:>8} {taken / seconds:>7.3f}  {difference:.1e}")


if __name__ == "__main__":
    main()
