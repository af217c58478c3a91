"""How long a chunk of a signal is."""

import math

from snac_exp.codec.geometry import Geometry
from snac_exp.errors import ConfigError


def chunk_frames(geometry: Geometry, chunk_seconds: float | None, num_frames: int) -> int:
    """Frames of the latent per chunk, in whole steps (a coarse token, or a whole attention window); None = all of them.

    Raises:
        ConfigError: it is no number of seconds.
    """
    if chunk_seconds is None:
        return num_frames
    if not isinstance(chunk_seconds, int | float) or not 0 <= chunk_seconds < math.inf:
        raise ConfigError(f"chunk_seconds={chunk_seconds!r} must be a number of at least 0, or None for the whole")
    # An attention window that is cut in two gives other values in both parts.
    step = geometry.coarse_step * geometry.vq_strides[0]
    frames = chunk_seconds * geometry.sampling_rate / geometry.hop_length
    # At least one step: 0 seconds means the smallest chunk.
    return max(step, int(frames) // step * step)
