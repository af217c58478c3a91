"""Cross-entropy of token logits: per token, as the trained objective, and as the metrics of a validation.

Shapes: B windows, T frames, K streams of a frame, V_k entries of stream k; logits are a list of (B, T, V_k). Which
tokens count is a mask (B, T, K): padding beyond the end of a file and repeated tokens of slower codebooks do not.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snac_exp.errors import ConfigError
from snac_exp.lm.frames import FrameLayout


def token_cross_entropy(logits: Sequence[Tensor], targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy (B, T, K) in nats of logits, (B, T, V_k) per stream, against targets (B, T, K); float32 at least.

    (1 - s) * -log p[target] + s * mean over the V_k entries of -log p, with s = `label_smoothing`
    (Szegedy et al., Rethinking the Inception Architecture, section 7).
    """
    columns = []
    for k, scores in enumerate(logits):
        # A log-softmax over thousands of entries loses its small probabilities in half precision.
        precise = scores if scores.dtype == torch.float64 else scores.float()
        target = targets[:, :, k]
        losses = F.cross_entropy(
            precise.flatten(0, 1), target.flatten(), reduction="none", label_smoothing=label_smoothing
        )
        columns.append(losses.view_as(target))
    return torch.stack(columns, dim=2)


def codebook_weights(weights: str | Sequence[float], num_codebooks: int, alpha: float) -> list[float]:
    """Weight of each codebook: `equal`; `auto`: 1 + alpha * k / (K - 1), so that later ones count more; or K numbers.

    Raises:
        ConfigError: another word, another number of weights, or one that is not positive.
    """
    if weights == "equal" or (weights == "auto" and num_codebooks == 1):
        return [1.0] * num_codebooks
    if weights == "auto":
        chosen = [1.0 + alpha * k / (num_codebooks - 1) for k in range(num_codebooks)]
    elif isinstance(weights, str):
        raise ConfigError(
            f"codebook_weights={weights} is not valid; choose one of: auto, equal, or {num_codebooks} numbers"
        )
    else:
        chosen = [float(weight) for weight in weights]
    if len(chosen) != num_codebooks:
        raise ConfigError(
            f"codebook_weights has {len(chosen)} numbers for {num_codebooks} codebooks; give one for each"
        )
    if not all(weight > 0 and math.isfinite(weight) for weight in chosen):
        raise ConfigError(f"codebook_weights={chosen} must all be greater than 0")
    return chosen


def scored_tokens(valid_frames: Tensor, num_frames: int, layout: FrameLayout) -> Tensor:
    """Mask (B, T, K), True for tokens that are real and new; `valid_frames` (B,) are real in each window.

    Windows begin at multiples of `layout.alignment`.
    """
    frame = torch.arange(num_frames, device=valid_frames.device)
    # Without waiting for the device, as a tensor made on it would.
    period = torch.tensor(layout.periods).to(valid_frames.device, non_blocking=True)
    # Repeats are known from the frame before; scoring them would make a model look better than it is.
    new = frame[:, None] % period == 0
    return (frame < valid_frames[:, None])[..., None] & new


class TokenObjective(nn.Module):
    """The trained objective: sum of w * CE / sum of w over the scored tokens, w the weight of a token's codebook.

    `weight` is that denominator: means of several micro-batches combine exactly when weighted by it.
    """

    def __init__(
        self,
        layout: FrameLayout,
        weights: str | Sequence[float] = "equal",
        alpha: float = 0.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing={label_smoothing} must lie between 0 and 1")
        self.layout, self.label_smoothing = layout, label_smoothing
        chosen = codebook_weights(weights, layout.num_codebooks, alpha)
        # Beside the buffers, which would move: tokens are weighed on the CPU too.
        self.stream_weights = torch.tensor([chosen[codebook] for codebook in layout.codebooks])

    def weight(self, valid_frames: Tensor, num_frames: int) -> float:
        """Summed weight of the scored tokens of a batch; `valid_frames` (B,) of `num_frames` are real."""
        return float(self._token_weights(valid_frames, num_frames).double().sum())

    def forward(self, logits: Sequence[Tensor], targets: Tensor, valid_frames: Tensor) -> Tensor:
        """The weighted mean over a batch, a scalar; zero where nothing is scored."""
        losses = token_cross_entropy(logits, targets, self.label_smoothing)
        weights = self._token_weights(valid_frames, targets.shape[1]).to(losses.dtype)
        # 0 / tiny is 0 where nothing is scored; 0 / 0 would be NaN.
        return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(losses.dtype).tiny)

    def _token_weights(self, valid_frames: Tensor, num_frames: int) -> Tensor:
        """Weights (B, T, K) of the tokens, 0 where they are not scored; real frames (B,)."""
        scored = scored_tokens(valid_frames, num_frames, self.layout)
        return scored * self.stream_weights.to(valid_frames.device, non_blocking=True)


_OF_TOKENS = ("cross_entropy", "perplexity", "accuracy")


class TokenMetrics:
    """Sums over a validation, from which the metrics follow: without smoothing and weights, so that runs compare."""

    def __init__(self, layout: FrameLayout) -> None:
        self.layout = layout
        self._sums = torch.zeros(3, layout.num_codebooks, dtype=torch.float64)  # nats, right ones, tokens

    @torch.no_grad()
    def add(self, logits: Sequence[Tensor], targets: Tensor, valid_frames: Tensor) -> None:
        """Count a batch: logits of each stream, targets (B, T, K), real frames (B,)."""
        scored = scored_tokens(valid_frames, targets.shape[1], self.layout)
        nats = token_cross_entropy(logits, targets)
        right = torch.stack([scores.argmax(-1) for scores in logits], dim=2)
        # Streams of one codebook add up: a coarse frame has several.
        for stream, codebook in enumerate(self.layout.codebooks):
            mask = scored[:, :, stream]
            self._sums[0, codebook] += nats[:, :, stream][mask].double().sum().cpu()
            self._sums[1, codebook] += (right == targets)[:, :, stream][mask].sum().cpu()
            self._sums[2, codebook] += mask.sum().cpu()

    @classmethod
    def joined(cls, parts: Sequence["TokenMetrics"]) -> "TokenMetrics":
        """Of all windows of several validations of one layout."""
        whole = cls(parts[0].layout)
        for part in parts:
            whole._sums = whole._sums + part._sums
        return whole

    def summed(self, total: Callable[[Tensor], Tensor]) -> "TokenMetrics":
        """Itself, its sums (3, num_codebooks) replaced by what `total` makes of them."""
        self._sums = total(self._sums)
        return self

    @property
    def num_tokens(self) -> list[int]:
        """Scored tokens of each codebook so far."""
        return [int(num) for num in self._sums[2]]

    def names(self) -> list[str]:
        """Names of the metrics."""
        of_each = [f"codebook_{k}/{name}" for k in range(self.layout.num_codebooks) for name in _OF_TOKENS]
        return [*of_each, *_OF_TOKENS, "bits_per_second", "bits_per_frame"]

    def result(self) -> dict[str, float]:
        """Metrics by name.

        `codebook_K/cross_entropy` in nats per token, `codebook_K/perplexity`, `codebook_K/accuracy`; the same over all
        tokens without `codebook_K/`, and `bits_per_frame` and `bits_per_second` of audio.
        """
        nats, right, tokens = self._sums
        if not bool((tokens > 0).all()):
            raise ValueError("no tokens of some codebook were counted")
        mean = nats / tokens
        values: dict[str, float] = {}
        for k in range(self.layout.num_codebooks):
            values[f"codebook_{k}/cross_entropy"] = float(mean[k])
            values[f"codebook_{k}/perplexity"] = math.exp(float(mean[k]))
            values[f"codebook_{k}/accuracy"] = float(right[k] / tokens[k])
        per_token = float(nats.sum() / tokens.sum())
        # Of audio, not of frames: layouts of the same codec are comparable in it.
        bits_per_second = per_token / math.log(2) * self.layout.tokens_per_second
        return values | {
            "cross_entropy": per_token,
            "perplexity": math.exp(per_token),
            "accuracy": float(right.sum() / tokens.sum()),
            "bits_per_second": bits_per_second,
            "bits_per_frame": bits_per_second / self.layout.frames_per_second,
        }
