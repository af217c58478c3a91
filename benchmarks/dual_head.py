"""Phase 12 as the plain script and as this package train it: same shape, same weights, same batch."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from snac import SNAC
from snac.layers import NoiseBlock, Snake1d
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.release_models import SNAC_24KHZ
from snac_exp.codec.checkpoint import LoadedCodec, config_of
from snac_exp.codec.geometry import Geometry
from snac_exp.codec.heads import NativeHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.schema import Loss
from snac_exp.data.slices.batch import Batch
from snac_exp.training.codec.decoder_task import DecoderTask

GROUPS = ("trunk", "heads.head_48k", "heads.head_24k")


@dataclass
class DualHead:
    """Both models with equal weights, their optimizers and one batch."""

    naive: plain.PlainDualHead
    task: DecoderTask
    batch: Batch
    naive_optimizer: torch.optim.Optimizer
    optimizer: torch.optim.Optimizer

    @classmethod
    def build(
        cls, batch_size: int = 2, num_tokens: int = 11, fused: bool = False, shape: Mapping[str, Any] = SNAC_24KHZ
    ) -> "DualHead":
        """Random weights, alphas as various as a trained model's.

        num_tokens: coarse ones of a slice. fused: our optimizer's kernel. shape: SNAC's arguments, at 24 kHz.
        """
        torch.manual_seed(0)
        snac = SNAC(**shape)
        for module in snac.modules():
            if isinstance(module, Snake1d):
                nn.init.uniform_(module.alpha, 0.5, 2.0)
        codec = LoadedCodec(snac, Geometry.from_config(shape), "", "snac_24khz", config_of(snac))
        model = MultiRateSnac.from_codec(codec, {"head_24k": NativeHead, "head_48k": UpsampleHead})
        naive = plain.PlainDualHead(snac)
        naive.head_48k.load_state_dict(plain_head_state(model.head("head_48k").state_dict()))
        for module in (model.encoder, model.quantizer, naive.quantizer):
            module.requires_grad_(False)
        settings = Loss(
            terms={"l1": 1.0, "stft_complex": 1.0, "stft_magnitude": 0.0},
            weights=dict(plain.MAIN),
            n_ffts={head: list(sizes) for head, sizes in plain.N_FFTS.items()},
        )
        batch = random_batch(batch_size, num_tokens, codec.geometry, shape["codebook_size"])
        adam = [torch.optim.AdamW(_trained(part), lr=1e-5, weight_decay=1e-4) for part in (naive, model)]
        if fused:
            adam[1] = torch.optim.AdamW(_trained(model), lr=1e-5, weight_decay=1e-4, fused=True)
        return cls(naive, DecoderTask(model, settings), batch, *adam)

    def plain_step(self, weights: Mapping[str, float] = plain.MAIN) -> float:
        """One step of the plain script."""
        return plain.step(self.naive, self.naive_optimizer, self.batch.codes, self.batch.audio, weights)

    def step(self, weights: Mapping[str, float] = plain.MAIN) -> float:
        """The same step of this package, without its loop."""
        terms = self.task(self.batch, weights)
        total = self.task.total(terms, weights)
        total.backward()
        nn.utils.clip_grad_norm_([p for p in self.task.model.parameters() if p.grad is not None], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(total)

    def freeze(self, frozen: bool) -> None:
        """Warm-up (True): only the new head learns; in both models."""
        for part in (self.naive.trunk, self.naive.head_24k, self.task.model.trunk, self.task.model.head("head_24k")):
            part.requires_grad_(not frozen)
            for parameter in part.parameters():
                parameter.grad = None


def random_batch(batch_size: int, num_tokens: int, geometry: Geometry, codebook_size: int) -> Batch:
    """Codes and noise as audio; nothing is padding."""
    lengths = [geometry.codebook_length(i, num_tokens) for i in range(geometry.num_codebooks)]
    codes = [torch.randint(0, codebook_size, (batch_size, length)) for length in lengths]
    samples = num_tokens * geometry.coarse_hop
    audio = {head: 0.1 * torch.randn(batch_size, 1, samples * k) for k, head in ((1, "head_24k"), (2, "head_48k"))}
    zeros = torch.zeros(batch_size, dtype=torch.long)
    seconds = samples / geometry.sampling_rate
    return Batch(codes, audio, zeros + num_tokens, zeros, zeros + samples, zeros, seconds)


def plain_head_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our 48 kHz head's values under the plain model's names."""
    names = {"block.": "0.", "snake.": "1.", "conv.": "2."}
    return {
        next(new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)): value
        for name, value in state.items()
    }


def without_noise(pair: DualHead) -> DualHead:
    """A copy whose noise blocks pass their input on, so that both models' outputs can be compared."""
    quiet = copy.deepcopy(pair)
    for model in (quiet.naive, quiet.task.model):
        for module in model.modules():
            if isinstance(module, NoiseBlock):
                module.forward = lambda x: x
    return quiet


def same_parameters(pair: DualHead) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Each trained parameter of the plain model and what it is in ours."""
    ours, naive = pair.task.model, pair.naive
    parts = [
        (naive.trunk, ours.trunk),
        (naive.head_24k, ours.head("head_24k")),
        (naive.head_48k, ours.head("head_48k")),
    ]
    return [
        (p, q)
        for first, second in parts
        for p, q in zip(first.parameters(), second.parameters(), strict=True)
        if p.requires_grad
    ]


def bytes_kept(work: Callable[[], object]) -> int:
    """Bytes that autograd keeps for the backward pass, each storage counted once; parameters do not count."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = work()
    del kept
    return sum(seen.values())


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
