"""Codebook patterns compared on the tokens of real speech: same data, steps, seconds of context and parameters.

    python experiments/rvq_lm/compare.py --data FOLDER --codec snac_exp/assets/demo_codec --output outputs/rvq_lm

Every arm sees the same windows of the same files in the same order and is scored on the same validation tokens, each
once. The MLPs are sized so that all arms have the same number of parameters within 2 %. Finished runs are kept in
OUTPUT/results.json, so a killed comparison goes on where it stopped.
"""

import argparse
import json
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from snac_exp.codec.checkpoint import LoadedCodec, load_directory
from snac_exp.config.schema import Depth, LanguageModel
from snac_exp.config.seeding import derive_seed
from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.tokens.baseline import unigram_metrics
from snac_exp.data.tokens.sources import CodeCacheTokens, TokenSplits
from snac_exp.data.tokens.windows import WindowSampler
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenFigures, TokenObjective
from snac_exp.system.files import read_json, write_json

T_95_OF_3 = 4.302652729911275  # Student's t for a two-sided 95 % interval of three values


@dataclass(frozen=True)
class Arm:
    """One model of the comparison: the pattern, the frames it runs over and how its layers are divided."""

    pattern: str
    frames: str
    num_layers: int
    depth: Depth


def arms_of(d_model: int, num_layers: int) -> dict[str, Arm]:
    """The arms. Those over `repeated` frames have 4 frames per coarse token, those over `coarse` frames one.

    The depth arms give two of their layers to the model inside the frame.
    """
    unused, depth = Depth(d_model, 1, 4), Depth(d_model, 2, 4)
    return {
        "parallel": Arm("parallel", "repeated", num_layers, unused),
        "delay": Arm("delay", "repeated", num_layers, unused),
        "flatten": Arm("flatten", "coarse", num_layers, unused),
        "depth": Arm("depth", "coarse", max(num_layers - 2, 1), depth),
        "depth_repeated": Arm("depth", "repeated", max(num_layers - 2, 1), depth),
        "parallel_coarse": Arm("parallel", "coarse", num_layers, unused),
    }


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    codec = load_directory("compared", args.codec)
    cache_dir = tokens_of(args.data, codec, args.output / "tokens")
    every = arms_of(args.d_model, args.layers)
    arms = {name: every[name] for name in every if name in args.arms}
    corpora = {
        frames: CodeCacheTokens(str(cache_dir), frames).open_tokens(codec, 0) for frames in ("coarse", "repeated")
    }
    # The coarse frames have a table and a head for each of their 7 streams, so they set what all must have.
    target = num_parameters(every["parallel_coarse"], 4.0, corpora["coarse"].layout, args)
    results_path = args.output / "results.json"
    results: dict[str, Any] = read_json(results_path) if results_path.exists() else {}
    results["setting"] = describe(args, codec, corpora["coarse"])
    for seed in range(args.seeds):
        for name, arm in arms.items():
            key = f"{name}/seed{seed}"
            if key not in results:
                results[key] = run(arm, corpora[arm.frames], target, seed, args)
                write_json(results_path, results)
                print(
                    f"{key}: {results[key]['bits_per_second']:.1f} bits/s, {results[key]['seconds']:.0f} s", flush=True
                )
    coarse = corpora["coarse"]
    results["unigram"] = unigram_metrics(coarse, coarse.validation_specs(window_frames(coarse.layout, args), 0))
    write_json(results_path, results)
    print("\n".join(table(results, list(arms), args.seeds)))


def tokens_of(data: Path, codec: LoadedCodec, folder: Path) -> Path:
    """Prepare and encode the audio; whole speakers validate."""
    prepare(data, folder, train_ratio=0.85, seed=0, num_workers=1)
    cache_dir = folder / f"codes_{codec.fingerprint[:8]}"
    cache_codes(Manifest.read(folder), codec, cache_dir, num_readers=1)
    return cache_dir


def window_frames(layout: FrameLayout, args: argparse.Namespace) -> int:
    """Frames of a window: the same whole coarse tokens for every arm."""
    per_coarse = layout.alignment
    coarse_rate = layout.frames_per_second / per_coarse
    return int(args.context_seconds * coarse_rate) * per_coarse


def model_of(arm: Arm, mlp_ratio: float, layout: FrameLayout, args: argparse.Namespace) -> TokenTransformer:
    settings = LanguageModel(
        arm.pattern, args.d_model, arm.num_layers, 4, args.dropout, window_frames(layout, args), "rotary", arm.depth,
        mlp_ratio,
    )  # fmt: skip
    return TokenTransformer(settings, layout)


def num_parameters(arm: Arm, mlp_ratio: float, layout: FrameLayout, args: argparse.Namespace) -> int:
    with torch.device("meta"):
        return model_of(arm, mlp_ratio, layout, args).num_parameters


def matching_ratio(arm: Arm, target: int, layout: FrameLayout, args: argparse.Namespace) -> float:
    """The MLP ratio that gives an arm `target` parameters; they are linear in it up to rounding."""
    low, high = (num_parameters(arm, ratio, layout, args) for ratio in (1.0, 3.0))
    ratio = 1.0 + 2.0 * (target - low) / (high - low)
    found = num_parameters(arm, ratio, layout, args)
    if not abs(found / target - 1) < 0.02 or ratio < 1:
        raise SystemExit(f"{arm} cannot have {target} parameters: {found} with an MLP ratio of {ratio:.2f}")
    return ratio


def run(arm: Arm, corpus: TokenSplits, target: int, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train one arm with one seed; its validation figures, size and cost."""
    layout = corpus.layout
    torch.manual_seed(derive_seed(seed, "model"))
    model = model_of(arm, matching_ratio(arm, target, layout, args), layout, args)
    num_frames, step_frames = window_frames(layout, args), window_frames(layout, args) // layout.alignment // 2
    index = corpus.train.index(num_frames, step_frames * layout.alignment)
    objective = TokenObjective(layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.1)
    step, epoch, seconds = 0, 0, 0.0
    while step < args.steps:
        epoch += 1
        for specs in WindowSampler(index, seed, args.batch_size, epoch):
            started = time.perf_counter()
            batch = corpus.train.batch(specs)
            for group in optimizer.param_groups:
                group["lr"] = args.lr * rate_at(step, args.steps)
            optimizer.zero_grad()
            objective(model(batch.frames), batch.frames, batch.valid_frames).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            seconds += time.perf_counter() - started
            step += 1
            if step == args.steps:
                break
    cost = {
        "parameters": model.num_parameters,
        "seconds": seconds,
        "epochs": epoch,
        "gflops_per_step": gflops(model, args),
    }
    return cost | validate(model, corpus, num_frames)


def rate_at(step: int, num_steps: int) -> float:
    """Warm-up over 5 % of the steps, then a cosine to a tenth."""
    warmup = max(num_steps // 20, 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup)))


@torch.no_grad()
def validate(model: TokenTransformer, corpus: TokenSplits, num_frames: int) -> dict[str, float]:
    """Figures over all validation windows, and how many tokens of each codebook they scored."""
    figures, specs = TokenFigures(corpus.layout), corpus.validation_specs(num_frames, 0)
    model.eval()
    for first in range(0, len(specs), 16):
        batch = corpus.validation.batch(specs[first : first + 16])
        figures.add(model(batch.frames), batch.frames, batch.valid_frames)
    return figures.result() | {f"codebook_{k}/tokens": num for k, num in enumerate(figures.num_tokens)}


def gflops(model: TokenTransformer, args: argparse.Namespace) -> float:
    """Floating-point operations of one training step, in 1e9, counted in the matrix products."""
    frames = torch.zeros(args.batch_size, model.settings.ctx_frames, model.layout.num_streams, dtype=torch.int64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        sum(logits.sum() for logits in model(frames)).backward()
    model.zero_grad()
    return counter.get_total_flops() / 1e9


def describe(args: argparse.Namespace, codec: LoadedCodec, corpus: TokenSplits) -> dict[str, Any]:
    given = {name: value for name, value in vars(args).items() if isinstance(value, int | float)}
    return given | {
        "codec_fingerprint": codec.fingerprint,
        "train_minutes": corpus.train.num_seconds / 60,
        "validation_minutes": corpus.validation.num_seconds / 60,
        "tokens_per_second": corpus.layout.tokens_per_second,
        "torch": torch.__version__,
    }


def table(results: dict[str, Any], arms: list[str], num_seeds: int) -> list[str]:
    """Markdown: means over the seeds with 95 % intervals, differences to the first arm paired by seed."""
    names = [f"codebook_{k}/cross_entropy" for k in range(3)]
    lines = [
        "| arm | bits/s | difference to parallel | CE codebook 0 | 1 | 2 | parameters | GFLOP/step | s/run |",
        "|---|" + "---|" * 8,
    ]
    for arm in arms:
        runs = [results[f"{arm}/seed{seed}"] for seed in range(num_seeds)]
        bits = [item["bits_per_second"] for item in runs]
        base = [results[f"{arms[0]}/seed{seed}"]["bits_per_second"] for seed in range(num_seeds)]
        cells = [interval(bits, 1), interval([one - other for one, other in zip(bits, base, strict=True)], 1)]
        cells += [interval([item[name] for item in runs], 3) for name in names]
        cells += [
            f"{runs[0]['parameters']:,}",
            f"{runs[0]['gflops_per_step']:.1f}",
            f"{statistics.mean(item['seconds'] for item in runs):.0f}",
        ]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    known = results["unigram"]
    lines.append(
        f"| unigram | {known['bits_per_second']:.1f} | | {' | '.join(f'{known[name]:.3f}' for name in names)} | | | |"
    )
    tokens = {json.dumps([results[f"{arm}/seed0"][f"codebook_{k}/tokens"] for k in range(3)]) for arm in arms}
    return [*lines, "", f"tokens scored per codebook: {', '.join(tokens)}"]


def interval(values: list[float], digits: int) -> str:
    """Mean and half width of the 95 % t interval of three values; the mean alone for another number of them."""
    mean = statistics.mean(values)
    if len(values) != 3:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {T_95_OF_3 * statistics.stdev(values) / math.sqrt(3):.{digits}f}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of speech, a folder per speaker")
    parser.add_argument("--codec", type=Path, required=True, help="SNAC checkpoint directory")
    parser.add_argument("--output", type=Path, required=True, help="folder for tokens and results.json")
    parser.add_argument("--arms", nargs="+", default=list(arms_of(64, 1)), help="arms to run")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of every arm")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch-size", type=int, default=8, help="windows per step")
    parser.add_argument("--context-seconds", type=float, default=4.0)
    parser.add_argument("--d-model", type=int, default=96)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
