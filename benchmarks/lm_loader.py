"""Token windows against a loader that reads a whole file for each window, in one process.

    python benchmarks/lm_loader.py [--minutes 10 60 4 1] [--codebooks 9] [--batch-size 8]

Both give the same int64 batches of random windows (1280 frames of DAC 44.1 kHz = 15 s, the context of run 1) from a
warm page cache; medians of alternating pairs. What is gained is the part of a file that is not read, so it grows with
the length of the files. The recipe's windows, half a window apart, are made for recordings of many minutes: the first
line is the figure for 10 minutes. The last lines show the other end: files of 4 minutes gain less, and where files are
hardly longer than a window both loaders read the same.
"""

import argparse
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from snac_exp.data.tokens.batch import TokenWindows
from snac_exp.data.tokens.files import NpqFiles
from snac_exp.data.tokens.npq import write_npq
from snac_exp.data.tokens.windows import WindowSampler, WindowSpec

RATE_HZ, VOCAB, CTX, STEP = 86.1328125, 1024, 1280, 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0, 4.0, 1.0], help="length of a file")
    parser.add_argument("--codebooks", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for minutes in args.minutes:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), minutes, args)


def compare(folder: Path, minutes: float, args: argparse.Namespace) -> None:
    """Print the time of a batch of both loaders for files of one length."""
    rng = np.random.default_rng(0)
    num_frames = int(minutes * 60 * RATE_HZ)
    for i in range(8):
        tokens = rng.integers(0, VOCAB, (num_frames, args.codebooks))
        write_npq(folder / f"{i}.npq", tokens, (VOCAB,) * args.codebooks, RATE_HZ)
    files = NpqFiles.open(folder)
    windows = TokenWindows(files, np.arange(8))
    batches = [specs for _, specs in zip(range(20), sampled(windows, args.batch_size), strict=False)]

    def ours() -> list[torch.Tensor]:
        return [windows.batch(specs).frames for specs in batches]

    def naive() -> list[torch.Tensor]:
        return [torch.stack([read_whole(folder / files.paths[spec.file], spec) for spec in specs]) for specs in batches]

    assert all(torch.equal(one, other) for one, other in zip(ours(), naive(), strict=True))
    pairs = [(seconds_of(naive), seconds_of(ours)) for _ in range(args.pairs)]
    ratios = [slow / fast for slow, fast in pairs]
    slow, fast = (1e3 * statistics.median(item) / len(batches) for item in zip(*pairs, strict=True))
    print(
        f"files of {minutes:g} min ({num_frames:,} frames of {args.codebooks}): whole file {slow:.2f} ms/batch, "
        f"window {fast:.3f} ms/batch, ratio {statistics.median(ratios):.1f}x "
        f"({min(ratios):.1f} to {max(ratios):.1f} over {len(ratios)} pairs)"
    )


def sampled(windows: TokenWindows, batch_size: int) -> WindowSampler:
    return WindowSampler(windows.index(CTX, STEP), seed=0, batch_size=batch_size, epoch=1)


def read_whole(path: Path, spec: WindowSpec) -> torch.Tensor:
    """The plain form: parse the header, read all tokens, make a tensor, cut the window out."""
    data = path.read_bytes()
    _, num_codebooks, _, _, num_frames = struct.unpack_from("<HHffI", data, 4)
    tokens = np.frombuffer(data, "<u2", num_frames * num_codebooks, 21 + 4 * num_codebooks)
    frames = torch.from_numpy(tokens.astype(np.int64)).view(num_frames, num_codebooks)
    return frames[spec.start : spec.start + spec.num_frames]


def seconds_of(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
