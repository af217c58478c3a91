"""The token task: windows of frames in, cross-entropies out; what validates and samples a token model."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.config.seeding import derive_seed
from snac_exp.data.tokens.batch import TokenBatch
from snac_exp.data.tokens.codecs import TokenCodec
from snac_exp.data.tokens.sources import TokenSplits
from snac_exp.data.tokens.windows import WindowSpec
from snac_exp.lm.sampling import Sampling, generate
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenMetrics, TokenObjective
from snac_exp.tracking.panels import write_clips
from snac_exp.training.collectives import Collectives
from snac_exp.training.task import Task

LOSS = "tokens/cross_entropy"

Autocast = Callable[[], AbstractContextManager[None]]


class TokenTask(Task):
    """A token transformer and its objective."""

    model: TokenTransformer

    def __init__(self, model: TokenTransformer, objective: TokenObjective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: TokenBatch, weights: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """The one term of a batch, a scalar: the weighted, smoothed mean over its scored tokens."""
        logits = self.model(batch.frames)
        with self.timer.inner("loss"):
            return {LOSS: self.objective(logits, batch.frames, batch.valid_frames)}

    def total(self, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """The one term () is the loss."""
        return terms[LOSS]

    def compile_model(self) -> None:
        """Compile the model and its loss, whose operations one by one carry the logits through memory ten times."""
        super().compile_model()
        self.objective.compile(dynamic=False)

    def weight(self, batch: TokenBatch) -> float:
        """How much a batch scores: the weight of its mean among micro-batches, see `accumulate`."""
        return self.objective.weight(batch.valid_frames, batch.frames.shape[1])


@dataclass(frozen=True)
class Share:
    """Which batches of a validation a rank takes, and how a tensor of any shape on the CPU is summed over the ranks."""

    rank: int
    world_size: int
    total: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, fabric: Fabric) -> "Share":
        """This rank's."""
        return cls(fabric.global_rank, fabric.world_size, Collectives(fabric).total)


ALL = Share(0, 1, lambda sums: sums)
"""Everything, on one rank."""


def validate_tokens(
    model: TokenTransformer, splits: TokenSplits, specs: Sequence[WindowSpec], batch_size: int
) -> dict[str, float]:
    """The metrics of `count_tokens` on the CPU, see `TokenMetrics.result`."""
    return count_tokens(model, splits, specs, batch_size).result()


@torch.no_grad()
def count_tokens(
    model: TokenTransformer,
    splits: TokenSplits,
    specs: Sequence[WindowSpec],
    batch_size: int,
    device: torch.device | str = "cpu",
    autocast: Autocast = nullcontext,
    share: Share = ALL,
) -> TokenMetrics:
    """Sums over fixed windows, without smoothing, weights or dropout.

    Every batch has `batch_size` windows, the last one filled up with empty ones; a rank takes its `share` of them. The
    model's mode is put back.
    """
    was_training = model.training
    model.eval()
    metrics = TokenMetrics(splits.layout)
    for first in range(share.rank * batch_size, len(specs), share.world_size * batch_size):
        # Filled up to the same shape every time: a compiled model would be compiled anew for a smaller one.
        (batch,) = splits.validation.batch(specs[first : first + batch_size]).micro_batches(batch_size)
        batch = batch.to(device)
        with autocast():
            logits = model(batch.frames)
        metrics.add(logits, batch.frames, batch.valid_frames)
    model.train(was_training)
    return metrics.summed(share.total)


def write_token_samples(
    model: TokenTransformer,
    codec: TokenCodec,
    prompts: Sequence[Tensor],
    num_frames: int,
    sampling: Sampling,
    directory: Path,
) -> None:
    """Write what the model goes on with after each prompt (P, K), and the prompt alone, as wav and one picture each.

    An empty prompt (0, K) is a sample from nothing. The codec decodes where it lies, on the CPU or not; what is no
    whole granule of it is cut off.
    """
    was_training = model.training
    model.eval()
    for index, prompt in enumerate(prompts):
        frames = generate(model, num_frames, sampling, prompt[None])[0]
        # Codecs with noise blocks draw while they decode.
        torch.manual_seed(derive_seed(sampling.seed, "samples", index))
        signals = {"prompt": prompt, "generated": frames}
        whole = {label: tokens[: len(tokens) - len(tokens) % codec.granule_frames] for label, tokens in signals.items()}
        decoded = {
            label: (codec.decode(tokens.cpu().numpy()).float(), codec.sampling_rate)
            for label, tokens in whole.items()
            if len(tokens)
        }
        write_clips(directory, f"sample{index}", decoded)
    model.train(was_training)
