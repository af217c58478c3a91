"""The token transformer: frames in, the logits of every token of every frame out, in any codebook pattern."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snac_exp.config.schema import LanguageModel
from snac_exp.errors import ConfigError
from snac_exp.lm.attention import CausalStack, KeyValueCache
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.patterns import ABSENT, Pattern


class TokenTransformer(nn.Module):
    """A causal transformer over the layout of a pattern.

    One embedding table and one head matrix serve all streams: token v of stream k is row k * V + v, with V the largest
    vocabulary; rows K * V + k hold the learned beginning of stream k. The inputs of a step are the summed embeddings of
    the step before.
    """

    def __init__(self, settings: LanguageModel, layout: FrameLayout) -> None:
        _check(settings, layout)
        super().__init__()
        self.settings, self.layout = settings, layout
        self.pattern = Pattern(settings.pattern, layout.num_streams)
        self.vocab_size = max(layout.vocab_sizes)
        num_rows = layout.num_streams * self.vocab_size
        hidden = round(settings.d_model * settings.mlp_ratio)
        self.stack = CausalStack(
            settings.d_model, settings.num_layers, settings.num_heads, hidden, settings.dropout, settings.checkpointing
        )
        self.embedding = nn.Embedding(num_rows + layout.num_streams, settings.d_model)
        self.position = None if self.rotary else nn.Embedding(self._num_positions, settings.d_model)
        # In `flatten` a step would have to read off the token before which stream it writes.
        self.stream = nn.Embedding(layout.num_streams, settings.d_model) if settings.pattern == "flatten" else None
        self.depth = DepthTransformer(settings, layout.num_streams) if settings.pattern == "depth" else None
        self.head = nn.Linear(settings.d_model if self.depth is None else settings.depth.d_model, num_rows)
        # As in GPT-2. Logits start near zero, so an untrained model guesses evenly; the preflight checks that.
        for module in (self.embedding, self.position, self.stream, self.head):
            if module is not None:
                nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        # Not persistent: it follows from the layout, and checkpoints hold weights alone.
        self._stream_rows: Tensor
        self.register_buffer("_stream_rows", torch.arange(layout.num_streams) * self.vocab_size, persistent=False)

    @property
    def rotary(self) -> bool:
        """Whether positions are rotary rather than learned."""
        return self.settings.positions == "rotary"

    @property
    def max_steps(self) -> int:
        """Steps that the longest window has."""
        return self.pattern.num_steps(self.settings.ctx_frames)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Logits of frames (B, T, K) int64: for stream k (B, T, V_k), [b, t] being the prediction of frames[b, t, k].

        Windows longer than `ctx_frames` need rotary positions; each step then attends to the last `max_steps` steps.
        """
        if frames.shape[1] > self.settings.ctx_frames and not self.rotary:
            raise ValueError(f"{frames.shape[1]} frames exceed the {self.settings.ctx_frames} learned positions")
        layout = self.pattern.lay_out(frames)
        # Shifted by one step: a step is written from all before it and never sees itself.
        before = torch.cat([torch.full_like(layout[:, :1], ABSENT), layout[:, :-1]], dim=1)
        hidden = self.stack(self.embed(before), rotary=self.rotary, window=self.max_steps)
        if self.depth is not None:
            states = self.depth(hidden, frames + self._stream_rows, self.embedding).unbind(2)
        else:
            num_frames = frames.shape[1]
            # A hidden state predicts the step at its own place, since inputs lie one step later.
            states = [hidden[:, self.pattern.steps_of(k, num_frames)] for k in range(frames.shape[2])]
        # One matrix, but a product per stream: together the logits would outgrow every cache.
        num_streams, sizes = self.layout.num_streams, self.layout.vocab_sizes
        weights = self.head.weight.view(num_streams, self.vocab_size, -1).unbind(0)
        biases = self.head.bias.view(num_streams, self.vocab_size).unbind(0)
        return [
            # A smaller vocabulary leaves its last rows unused: they never appear among the logits.
            F.linear(state, weight[:size], bias[:size])
            for state, weight, bias, size in zip(states, weights, biases, sizes, strict=True)
        ]

    def embed(self, before: Tensor, first_step: int = 0) -> Tensor:
        """Inputs (B, n, D) of the steps from `first_step` on; `before` (B, n, W) is the layout one step earlier."""
        num_streams = self.layout.num_streams
        step = torch.arange(first_step, first_step + before.shape[1], device=before.device)
        if self.pattern.width == 1:
            # `before` is what the step before wrote, which belongs to the stream before.
            stream = ((step - 1) % num_streams)[:, None]
        else:
            stream = torch.arange(num_streams, device=before.device)
        beginning = num_streams * self.vocab_size + stream
        # Places without a token read the learned beginning of their stream.
        rows = torch.where(before == ABSENT, beginning, before + stream * self.vocab_size)
        x: Tensor = self.embedding(rows[..., 0]) if rows.shape[-1] == 1 else self._sum_of_rows(rows)
        if self.position is not None:
            # A position per frame: the K steps of a frame in `flatten` are told apart by the stream.
            x = x + self.position(step // self.pattern.steps_per_frame)
        if self.stream is not None:
            x = x + self.stream(step % num_streams)
        return F.dropout(x, self.settings.dropout, self.training) if self.settings.dropout else x

    def logits_of_stream(self, hidden: Tensor, stream: int) -> Tensor:
        """Logits (..., V_k) of one stream from hidden states (..., D)."""
        first = stream * self.vocab_size
        rows = slice(first, first + self.layout.vocab_sizes[stream])
        return F.linear(hidden, self.head.weight[rows], self.head.bias[rows])

    def _sum_of_rows(self, rows: Tensor) -> Tensor:
        """Summed embeddings (B, n, D) of rows (B, n, W) without the (B, n, W, D) in between."""
        summed = F.embedding_bag(rows.flatten(0, 1), self.embedding.weight, mode="sum")
        return summed.view(*rows.shape[:2], -1)

    @property
    def _num_positions(self) -> int:
        # More than ctx_frames in `delay`, whose last K - 1 steps finish the streams that lag.
        return self.max_steps // self.pattern.steps_per_frame


class DepthTransformer(nn.Module):
    """The streams of one frame in order: stream k from the frame's hidden state and streams 0 to k - 1.

    Source: the depth transformer of Lee et al., Autoregressive Image Generation using Residual Quantization,
    arXiv:2203.01941.
    """

    def __init__(self, settings: LanguageModel, num_streams: int) -> None:
        super().__init__()
        depth = settings.depth
        hidden = round(depth.d_model * settings.mlp_ratio)
        self.from_frame = nn.Linear(settings.d_model, depth.d_model)
        # Without a norm the embeddings of tokens would begin fifty times smaller than the hidden state beside them.
        self.token_norm = nn.LayerNorm(settings.d_model)
        self.from_token = nn.Linear(settings.d_model, depth.d_model, bias=False)
        self.position = nn.Embedding(num_streams, depth.d_model)
        self.stack = CausalStack(depth.d_model, depth.num_layers, depth.num_heads, hidden, settings.dropout)
        for weight in (self.from_frame.weight, self.from_token.weight, self.position.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, hidden: Tensor, rows: Tensor, embedding: nn.Embedding) -> Tensor:
        """Hidden states (B, T, K, D_depth) from those of the frames (B, T, D) and their tokens' embedding rows."""
        num_streams = rows.shape[-1]
        tokens = self.from_token(self.token_norm(embedding(rows[..., :-1])))
        # All K streams at once: teacher forcing, where `step` writes one after the other.
        x = self.from_frame(hidden)[:, :, None] + self.position.weight
        x = x + F.pad(tokens, (0, 0, 1, 0))  # stream 0 sees no token of its frame
        # Every frame is a sequence of its own, (B * T, K, D): nothing passes from frame to frame here.
        flat: Tensor = self.stack(x.flatten(0, 1))
        return flat.view(*rows.shape[:2], num_streams, -1)

    def step(self, hidden: Tensor, rows: Tensor | None, embedding: nn.Embedding, cache: KeyValueCache) -> Tensor:
        """Hidden state (B, D_depth) of the next stream; `rows` (B,): the stream before, None at the first."""
        x = self.from_frame(hidden) + self.position.weight[cache.position]
        if rows is not None:
            x = x + self.from_token(self.token_norm(embedding(rows)))
        out: Tensor = self.stack(x[:, None], cache=cache)
        return out[:, 0]


def _check(settings: LanguageModel, layout: FrameLayout) -> None:
    """Sizes that no single key shows to be wrong; ConfigError names the mend."""
    sizes = {"lm": (settings.d_model, settings.num_heads)}
    if settings.pattern == "depth":
        sizes["lm.depth"] = (settings.depth.d_model, settings.depth.num_heads)
    for key, (d_model, num_heads) in sizes.items():
        # Twice: rotary positions turn pairs, so the size of a head is even.
        if num_heads < 1 or d_model % (2 * num_heads):
            raise ConfigError(f"{key}.d_model={d_model} must be a multiple of twice {key}.num_heads={num_heads}")
    if settings.ctx_frames < 2 * layout.num_streams and settings.pattern == "delay":
        raise ConfigError(
            f"lm.ctx_frames={settings.ctx_frames} is too short to delay {layout.num_streams} streams; use at least "
            f"{2 * layout.num_streams}"
        )
    if not 0 <= settings.dropout < 1:
        raise ConfigError(f"lm.dropout={settings.dropout} must lie between 0 and 1")
