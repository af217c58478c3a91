"""A training step of the token transformer against the recipe's plain form: K embeddings, K heads, K losses.

    python benchmarks/lm_step.py [--d-model 256] [--layers 6] [--device cpu]

Same blocks, same weights, same batch; forward, backward and AdamW. Medians of alternating pairs in one process.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snac_exp.config.schema import Depth, LanguageModel
from snac_exp.lm.attention import CausalStack
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenObjective, codebook_weights

VOCAB, SMOOTHING, ALPHA = 1024, 0.05, 0.5


class PlainModel(nn.Module):
    """K embedding tables summed, K heads, K cross-entropies with their weighted mean."""

    def __init__(self, settings: LanguageModel, num_codebooks: int) -> None:
        super().__init__()
        d_model = settings.d_model
        self.embeddings = nn.ModuleList(nn.Embedding(VOCAB, d_model) for _ in range(num_codebooks))
        self.beginnings = nn.Parameter(torch.zeros(num_codebooks, d_model))
        self.position = nn.Embedding(settings.ctx_frames, d_model)
        self.stack = CausalStack(d_model, settings.num_layers, settings.num_heads, 4 * d_model, settings.dropout)
        self.heads = nn.ModuleList(nn.Linear(d_model, VOCAB) for _ in range(num_codebooks))
        self.weights = codebook_weights("auto", num_codebooks, ALPHA)

    def forward(self, frames: Tensor) -> Tensor:
        x = sum(embedding(frames[:, :, k]) for k, embedding in enumerate(self.embeddings))
        x = torch.cat([self.beginnings.sum(0).expand(len(frames), 1, -1), x[:, :-1]], dim=1)
        hidden = self.stack(x + self.position.weight)
        losses = [
            weight * F.cross_entropy(head(hidden).flatten(0, 1), frames[:, :, k].flatten(), label_smoothing=SMOOTHING)
            for k, (head, weight) in enumerate(zip(self.heads, self.weights, strict=True))
        ]
        return torch.stack(losses).sum() / sum(self.weights)


class OurModel(nn.Module):
    """The package's model and objective."""

    def __init__(self, settings: LanguageModel, num_codebooks: int) -> None:
        super().__init__()
        layout = FrameLayout.plain((VOCAB,) * num_codebooks, 86.1328125)
        self.model, self.objective = (
            TokenTransformer(settings, layout),
            TokenObjective(layout, "auto", ALPHA, SMOOTHING),
        )

    def forward(self, frames: Tensor) -> Tensor:
        valid = torch.full((len(frames),), frames.shape[1], device=frames.device)
        return self.objective(self.model(frames), frames, valid)

    def take(self, plain: PlainModel) -> None:
        """Take over the weights of the plain form, so that both do the same sum."""
        with torch.no_grad():
            table = torch.cat([*_each(plain.embeddings, "weight"), plain.beginnings])
            assert self.model.position is not None
            self.model.embedding.weight.copy_(table)
            self.model.position.weight.copy_(plain.position.weight)
            self.model.head.weight.copy_(torch.cat(_each(plain.heads, "weight")))
            self.model.head.bias.copy_(torch.cat(_each(plain.heads, "bias")))
        self.model.stack.load_state_dict(plain.stack.state_dict())


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    settings = LanguageModel(
        "parallel", args.d_model, args.layers, args.heads, 0.0, args.ctx, "learned", Depth(64, 1, 1)
    )
    plain, ours = (
        PlainModel(settings, args.codebooks).to(args.device),
        OurModel(settings, args.codebooks).to(args.device),
    )
    ours.take(plain)
    frames = torch.randint(VOCAB, (args.batch_size, args.ctx, args.codebooks), device=args.device)
    with torch.no_grad():
        torch.testing.assert_close(ours(frames), plain(frames), rtol=1e-5, atol=1e-5)
    steps = [stepper(plain, frames), stepper(ours, frames)]
    for step in steps:
        step()
    pairs = []
    for i in range(args.pairs):  # whoever comes first changes from pair to pair
        order = steps if i % 2 else steps[::-1]
        seconds = [step() for step in order]
        pairs.append(tuple(seconds if i % 2 else seconds[::-1]))
    ratios = [slow / fast for slow, fast in pairs]
    slow, fast = (statistics.median(item) for item in zip(*pairs, strict=True))
    print(
        f"{args.layers} layers of {args.d_model}, {args.batch_size} x {args.ctx} frames of {args.codebooks}, "
        f"{args.device}: plain {slow:.3f} s/step, ours {fast:.3f} s/step, ratio {statistics.median(ratios):.2f}x "
        f"({min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} pairs)"
    )


def _each(modules: nn.ModuleList, name: str) -> list[Tensor]:
    return [module.get_parameter(name) for module in modules]


def stepper(model: nn.Module, frames: Tensor) -> Callable[[], float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(frames).backward()
        optimizer.step()
        if frames.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return step


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d-model", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--codebooks", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
