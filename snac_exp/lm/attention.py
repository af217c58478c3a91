"""Pre-norm causal transformer blocks with fused QKV, SDPA, rotary positions and a key/value cache."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ROTARY_BASE = 10_000.0  # RoFormer's: wavelengths from 2 pi to nearly 2 pi * 10,000 steps


@dataclass
class KeyValueCache:
    """Keys and values of the last `capacity` positions of every layer, written as a ring.

    The order within the ring does not matter to attention, since positions are in the keys themselves. `position`
    counts the positions seen so far.
    """

    keys: list[Tensor]
    values: list[Tensor]
    capacity: int
    position: int = 0

    @classmethod
    def empty(cls, stack: "CausalStack", batch_size: int, capacity: int) -> "KeyValueCache":
        """A cache for a stack, on its device and in its dtype."""
        weight = stack.norm.weight
        shape = (batch_size, stack.num_heads, capacity, weight.shape[0] // stack.num_heads)
        keys = [weight.new_empty(shape) for _ in stack.blocks]
        return cls(keys, [torch.empty_like(item) for item in keys], capacity)

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values (B, H, n, D) of the next n positions; returns what these may attend to.

        A single position gets all that is stored; several are only possible in an empty cache and get themselves.
        """
        num = keys.shape[2]
        if num > 1 and self.position:
            raise ValueError("a filled cache takes one position at a time")
        # Of more positions than fit only the newest are written: two writes to one slot have no defined order.
        kept = torch.arange(max(num - self.capacity, 0), num, device=keys.device)
        slots = (self.position + kept) % self.capacity
        # Under autocast keys come in half precision; the cache has the dtype of the weights.
        self.keys[layer][:, :, slots] = keys[:, :, kept].to(self.keys[layer].dtype)
        self.values[layer][:, :, slots] = values[:, :, kept].to(self.values[layer].dtype)
        if num > 1:
            # All of them, also those that did not fit: the caller masks what lies beyond the window.
            return keys, values
        filled = min(self.position + 1, self.capacity)
        return self.keys[layer][:, :, :filled], self.values[layer][:, :, :filled]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) with GELU."""

    def __init__(self, d_model: int, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, hidden), nn.Linear(hidden, d_model)

    def forward(
        self, x: Tensor, rotation: Tensor | None, mask: Tensor | None, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        """x (B, S, D) to the same shape; `mask` (S, S) True = may attend, None = causal."""
        x = x + self._drop(self.out(self._attend(self.attention_norm(x), rotation, mask, cache, layer)))
        return x + self._drop(self.down(F.gelu(self.up(self.mlp_norm(x)))))

    def _attend(
        self, x: Tensor, rotation: Tensor | None, mask: Tensor | None, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        """Attention output (B, S, D) of normed inputs x (B, S, D); rotation (2, S, D / H / 2), mask (S, S)."""
        batch, num_steps, d_model = x.shape
        heads = self.qkv(x).view(batch, num_steps, 3, self.num_heads, d_model // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        if rotation is not None:
            # Turned before they are stored: a cached key keeps its absolute position, and only distances count.
            query, key = rotate(query, rotation), rotate(key, rotation)
        if cache is not None:
            key, value = cache.extend(layer, key, value)
        # A single new position may see all that is stored, and SDPA's causal mask would hide it.
        causal = mask is None and num_steps > 1
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        return mixed.transpose(1, 2).reshape(batch, num_steps, d_model)

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout of x (B, S, D), in training only."""
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class CausalStack(nn.Module):
    """Blocks and a final LayerNorm; weights start as in GPT-2: normal 0.02, residual outputs / sqrt(2 * num_layers)."""

    def __init__(
        self, d_model: int, num_layers: int, num_heads: int, hidden: int, dropout: float, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.num_heads, self.checkpointing = num_heads, checkpointing
        self.blocks = nn.ModuleList(Block(d_model, num_heads, hidden, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(d_model)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                # Two additions a layer to the residual stream: each starts small enough to keep its variance.
                scale = (2 * num_layers) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self, x: Tensor, *, rotary: bool = False, window: int | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Hidden states (B, S, D) of inputs x (B, S, D).

        Each position attends to itself and what came before, at most `window` positions in all. With a cache x are the
        positions after those that it holds.
        """
        num_steps = x.shape[1]
        first = 0 if cache is None else cache.position
        head_size = x.shape[2] // self.num_heads
        rotation = rotary_angles(first, num_steps, head_size, x.device, x.dtype) if rotary else None
        # Only where it hides something: with a mask of its own SDPA cannot use its flash kernel.
        mask = sliding_mask(num_steps, window, x.device) if window is not None and num_steps > window else None
        for layer, block in enumerate(self.blocks):
            if self.checkpointing and self.training and torch.is_grad_enabled():
                # Not reentrant: that variant gives no gradients where its inputs need none, as with a frozen embedding.
                x = checkpoint(block, x, rotation, mask, None, layer, use_reentrant=False)
            else:
                x = block(x, rotation, mask, cache, layer)
        if cache is not None:
            # Once, after the last layer: every layer writes the same positions.
            cache.position += num_steps
        normed: Tensor = self.norm(x)
        return normed


def rotary_angles(first: int, num_steps: int, head_size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """cos and sin (2, num_steps, head_size / 2) of positions first, first + 1, ... (Su et al., RoFormer)."""
    # A float32 angle of 10,000 rad is off by 0.0005 already.
    precise = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    frequency = ROTARY_BASE ** (-torch.arange(0, head_size, 2, device=device, dtype=precise) / head_size)
    position = torch.arange(first, first + num_steps, device=device, dtype=precise)
    angle = torch.outer(position, frequency)
    return torch.stack([angle.cos(), angle.sin()]).to(dtype)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + D/2]) of x (B, H, S, D) by the angles of their positions."""
    cos, sin = rotation.to(x.dtype)
    # Halves as in GPT-NeoX, where RoFormer pairs neighbours: weights of one kind do not fit the other.
    one, two = x.chunk(2, dim=-1)
    return torch.cat([one * cos - two * sin, one * sin + two * cos], dim=-1)


def sliding_mask(num_steps: int, window: int, device: torch.device) -> Tensor:
    """(S, S), True where position i may attend to position j: i - window < j <= i."""
    step = torch.arange(num_steps, device=device)
    distance = step[:, None] - step
    return (distance >= 0) & (distance < window)
