"""Codebook patterns: in which order a model writes the tokens of frames, as an exactly invertible rearrangement.

A pattern turns frames (B, T, K) into a layout (B, S, W): S steps, at each of which W tokens are written at once, all of
them seeing only the tokens of earlier steps. Places that hold no token of any frame are ABSENT.

    parallel   S = T          W = K   the K tokens of a frame at once: none of them sees the others
    delay      S = T + K - 1  W = K   stream k lags k steps, so it sees the streams before it (Copet et al., MusicGen)
    flatten    S = T * K      W = 1   one token after the other
    depth      S = T          W = K   as parallel, and a second model orders the tokens within the step (Lee et al., RQ)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from snac_exp.errors import ConfigError

ABSENT = -1  # no token, which has a learned embedding per stream instead
NAMES = ("parallel", "delay", "flatten", "depth")


@dataclass(frozen=True)
class Pattern:
    """The pattern `name` for frames of `num_streams` tokens."""

    name: str
    num_streams: int

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"pattern={self.name} is unknown; choose one of: {', '.join(NAMES)}")

    @property
    def width(self) -> int:
        """Tokens written at one step, W."""
        return 1 if self.name == "flatten" else self.num_streams

    @property
    def steps_per_frame(self) -> int:
        """Steps from one frame to the next."""
        return self.num_streams if self.name == "flatten" else 1

    def num_steps(self, num_frames: int) -> int:
        """Steps that write `num_frames` frames, S."""
        lag = self.num_streams - 1 if self.name == "delay" else 0
        return num_frames * self.steps_per_frame + lag

    def steps_of(self, stream: int, num_frames: int) -> slice:
        """The steps at which the tokens of one stream stand, one per frame."""
        if self.name == "flatten":
            return slice(stream, num_frames * self.num_streams, self.num_streams)
        lag = stream if self.name == "delay" else 0
        return slice(lag, lag + num_frames)

    def lay_out(self, frames: Tensor) -> Tensor:
        """Frames (B, T, K) as layout (B, S, W)."""
        if self.name == "flatten":
            return frames.flatten(1)[..., None]
        # `depth` differs from `parallel` in the model, not in the layout.
        if self.name != "delay":
            return frames
        batch, num_frames, num_streams = frames.shape
        layout = frames.new_full((batch, self.num_steps(num_frames), num_streams), ABSENT)
        for k in range(num_streams):
            layout[:, self.steps_of(k, num_frames), k] = frames[:, :, k]
        return layout

    def frames_of(self, layout: Tensor) -> Tensor:
        """Inverse of `lay_out`: layout (B, S, W) to frames (B, T, K)."""
        # The last K - 1 steps of a delayed layout only finish the streams that lag.
        lag = self.num_streams - 1 if self.name == "delay" else 0
        num_frames = (layout.shape[1] - lag) // self.steps_per_frame
        columns = [layout[:, self.steps_of(k, num_frames), k if self.width > 1 else 0] for k in range(self.num_streams)]
        return torch.stack(columns, dim=2)

    def window(self, layout: Tensor, first_frame: int) -> Tensor:
        """The layout of the frames from `first_frame` on, out of the layout (B, S, W) of all frames.

        Equals `lay_out` of these frames alone: streams that lag start ABSENT, since they would write earlier frames.
        """
        rest = layout[:, first_frame * self.steps_per_frame :]
        if self.name != "delay":
            return rest
        step = torch.arange(rest.shape[1], device=layout.device)[:, None]
        earlier = step < torch.arange(self.num_streams, device=layout.device)
        return rest.masked_fill(earlier, ABSENT)
