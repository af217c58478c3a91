"""Writing new frames: one step after the other with a key/value cache, every draw a function of (seed, step, row).

What happens beyond the model's ctx_frames depends on its positions. Rotary: the window slides, every step attends to
the last `max_steps` steps. Learned: there is no position to slide to, so when the window is full it is filled again
with the newer half of its frames, which then stand at the first positions, and the cache is computed anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snac_exp.config.seeding import generator
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.attention import KeyValueCache
from snac_exp.lm.patterns import ABSENT
from snac_exp.lm.transformer import TokenTransformer

UNKNOWN = -2  # a token that is to be written
_ONE = 2.0**52  # a probability of 1; sums up to twice as much are whole in float64 too


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from its logits: temperature 0 takes the likeliest; null keeps all."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ConfigError(f"temperature={self.temperature} must not be negative")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k={self.top_k} must be at least 1, or null")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p} must lie between 0 and 1, or be null")


@torch.no_grad()
def generate(
    model: TokenTransformer, num_frames: int, sampling: Sampling, prompt: Tensor | None = None, batch_size: int = 1
) -> Tensor:
    """Frames (B, P + num_frames, K): a prompt of real frames (B, P, K), or nothing, and what the model writes after it.

    The model must be in eval mode.

    Raises:
        DataError: the prompt holds tokens that the model does not know.
    """
    if model.training:
        raise ValueError("sampling needs model.eval()")
    device = model.head.weight.device
    if prompt is None:
        prompt = torch.zeros(batch_size, 0, model.layout.num_streams, dtype=torch.int64)
    # Refused here, since it would read the embeddings of another stream without an error.
    _check_prompt(model, prompt)
    new = torch.full((len(prompt), num_frames, prompt.shape[2]), UNKNOWN)
    planned = model.pattern.lay_out(torch.cat([prompt.cpu(), new], dim=1))
    # Prompts of a batch have one length, so what is unknown in one row is unknown in all. With `delay` the first steps
    # still hold tokens of the prompt.
    unknown = (planned[0] == UNKNOWN).tolist()
    steps = range(prompt.shape[1] * model.pattern.steps_per_frame, planned.shape[1])
    # Once for all steps: a transfer or a look at a token of a GPU would wait for it at every token.
    draws, layout = _all_draws(sampling.seed, steps, len(prompt), model.pattern.width).to(device), planned.to(device)
    reader = CachedReader(model, len(prompt))
    for step, drawn in zip(steps, draws, strict=True):
        _write(model, layout, step, reader.hidden(layout, step), unknown[step], drawn, sampling)
    return model.pattern.frames_of(layout)


class CachedReader:
    """Hidden states of one step after the other, from a cache of the steps before."""

    def __init__(self, model: TokenTransformer, batch_size: int) -> None:
        self.model, self.batch_size = model, batch_size
        self.first_frame = -1
        self.cache: KeyValueCache | None = None

    def hidden(self, layout: Tensor, step: int) -> Tensor:
        """Hidden state (B, D) from which `step` of layout (B, S, W) is written; all earlier steps must be known."""
        model, pattern = self.model, self.model.pattern
        first_frame = 0 if model.rotary else window_start(step // pattern.steps_per_frame, model.settings.ctx_frames)
        local_step = step - first_frame * pattern.steps_per_frame
        window = pattern.window(layout[:, :step], first_frame)
        # Learned positions cannot slide: when the window moves, its steps are computed anew from their new places.
        if self.cache is None or first_frame != self.first_frame:
            self.cache = KeyValueCache.empty(model.stack, self.batch_size, model.max_steps)
            self.first_frame = first_frame
            beginning = layout.new_full((self.batch_size, 1, pattern.width), ABSENT)
            before, first_step = torch.cat([beginning, window], dim=1), 0
        else:
            before, first_step = window[:, -1:], local_step
        inputs = model.embed(before, first_step)
        hidden = model.stack(inputs, rotary=model.rotary, window=model.max_steps, cache=self.cache)
        last: Tensor = hidden[:, -1]
        return last


def window_start(frame: int, ctx_frames: int) -> int:
    """First frame of the window in which `frame` is written with learned positions: at most ctx_frames with it."""
    # By half a window at a time: moving by single frames would compute the whole cache anew at every one.
    hop = max(ctx_frames // 2, 1)
    return max(-(-(frame - ctx_frames + 1) // hop), 0) * hop


def draw_tokens(logits: Tensor, draws: Tensor, sampling: Sampling) -> Tensor:
    """Tokens (B,) from logits (B, V) and uniform draws (B,) in [0, 1), by the inverse of the distribution function.

    Logits are divided by the temperature, then cut to the `top_k` likeliest, then to the fewest likeliest tokens whose
    probabilities sum up to at least `top_p`.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    # In float64 and in a stable order: the drawn token must not depend on the device's sorting of ties.
    ordered, tokens = (logits.double() / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k is not None:
        ordered, tokens = ordered[:, : sampling.top_k], tokens[:, : sampling.top_k]
    # Whole numbers: their sums are exact, so no order in which a device may add changes a token.
    probability = (ordered.softmax(-1) * _ONE).round().long()
    cumulative = probability.cumsum(-1)
    if sampling.top_p is not None:
        # What comes before a token decides, so the likeliest one always stays.
        probability = probability.masked_fill(cumulative - probability >= sampling.top_p * _ONE, 0)
        cumulative = probability.cumsum(-1)
    # Scaled to the mass that top_p left, instead of dividing every entry by it.
    wanted = (draws[:, None] * cumulative[:, -1:]).floor().long()
    # A draw of nearly 1 may round beyond the last entry.
    index = torch.searchsorted(cumulative, wanted, right=True).clamp(max=cumulative.shape[-1] - 1)
    return tokens.gather(-1, index)[:, 0]


def uniform_draws(seed: int, step: int, batch_size: int, width: int) -> Tensor:
    """Uniform numbers (B, W) in [0, 1) for the tokens of one step: a row's are the same in every batch."""
    # Filled row by row: row b takes the same numbers however many rows follow.
    return torch.from_numpy(generator(seed, "sample", step).random((batch_size, width)))


def _all_draws(seed: int, steps: Sequence[int], batch_size: int, width: int) -> Tensor:
    """`uniform_draws` of all steps, (S, B, W)."""
    drawn = [uniform_draws(seed, step, batch_size, width) for step in steps]
    return torch.stack(drawn) if drawn else torch.zeros(0, batch_size, width, dtype=torch.float64)


def _write(
    model: TokenTransformer,
    layout: Tensor,
    step: int,
    hidden: Tensor,
    unknown: Sequence[bool],
    draws: Tensor,
    sampling: Sampling,
) -> None:
    """Fill in one step of layout (B, S, W) where a place is unknown, in place, from its hidden state (B, D) and draws
    (B, W)."""
    num_streams, width = model.layout.num_streams, model.pattern.width
    cache, rows = None, None
    if model.depth is not None:
        # Streams attend within their own frame only, so every step begins with an empty cache.
        cache = KeyValueCache.empty(model.depth.stack, len(layout), num_streams)
    for place in range(width):
        stream = place if width > 1 or num_streams == 1 else step % num_streams
        state = hidden
        if model.depth is not None and cache is not None:
            state = model.depth.step(hidden, rows, model.embedding, cache)
        if unknown[place]:
            layout[:, step, place] = draw_tokens(model.logits_of_stream(state, stream), draws[:, place], sampling)
        rows = layout[:, step, place] + stream * model.vocab_size


def _check_prompt(model: TokenTransformer, prompt: Tensor) -> None:
    """A prompt (B, P, K) must hold tokens of the model's vocabularies; DataError says what it holds instead."""
    sizes = np.array(model.layout.vocab_sizes)
    if prompt.ndim != 3 or prompt.shape[2] != len(sizes):
        raise DataError(f"a prompt of shape {tuple(prompt.shape)} is not (batch, frames, {len(sizes)} streams)")
    tokens = prompt.cpu().numpy()
    if tokens.size and ((tokens < 0) | (tokens >= sizes)).any():
        raise DataError(f"the prompt holds tokens beyond the model's vocabularies {sizes.tolist()}; use its own codec")
