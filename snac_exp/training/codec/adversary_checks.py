"""What an adversary's numbers must be, before anything is built. No torch here."""

from collections.abc import Collection

from snac_exp.config.schema import Adversary
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError


def check_adversary(adversary: Adversary, heads: Collection[str]) -> None:
    """The numbers must be possible and its heads must exist; kind=none is not looked at.

    Raises:
        ConfigError: naming the key and the mend.
    """
    if adversary.kind == "none":
        return
    for name in adversary.heads or ():
        if name not in heads:
            raise ConfigError(f"adversary.heads: there is no head '{name}'{nearest(name, heads)}")
    if adversary.heads == [] or not (adversary.periods or adversary.fft_sizes):
        raise ConfigError(
            "adversary has no discriminators: give it heads and periods or fft_sizes, or choose adversary=none"
        )
    if not any(vars(adversary.weights).values()):
        raise ConfigError("adversary.weights are all 0: nothing would reach the codec; choose adversary=none")
    _check_numbers(adversary)
    _check_sizes(adversary)


def _check_numbers(adversary: Adversary) -> None:
    for key in ("lr", "grad_clip", "band_channels"):
        if not getattr(adversary, key) > 0:
            raise ConfigError(f"adversary.{key}={getattr(adversary, key)} must be greater than 0")
    weights = {f"weights.{key}": value for key, value in vars(adversary.weights).items()}
    for key, value in (weights | {key: getattr(adversary, key) for key in ("start_step", "weight_decay")}).items():
        if value < 0:
            raise ConfigError(f"adversary.{key}={value} must not be negative")
    if not all(0 <= beta < 1 for beta in adversary.betas):
        raise ConfigError(f"adversary.betas={list(adversary.betas)} must lie in [0, 1)")


def _check_sizes(adversary: Adversary) -> None:
    if any(period < 1 for period in adversary.periods):
        raise ConfigError(f"adversary.periods={adversary.periods} must be numbers of samples, like [2, 3, 5, 7, 11]")
    if not adversary.period_channels or any(width < 1 for width in adversary.period_channels):
        raise ConfigError(f"adversary.period_channels={adversary.period_channels} must list the width of each layer")
    # The hop is a quarter and the padding on either side three eighths: both must be whole samples.
    if any(size < 8 or size % 8 for size in adversary.fft_sizes):
        raise ConfigError(f"adversary.fft_sizes={adversary.fft_sizes} must be multiples of 8 samples, like [1024, 512]")
    edges = adversary.band_edges
    if len(edges) < 2 or edges != sorted(set(edges)) or not 0 <= edges[0] < edges[-1] <= 1:
        raise ConfigError(f"adversary.band_edges={edges} must rise from 0 to 1, like [0.0, 0.25, 1.0]")
    for size in adversary.fft_sizes:
        # The same rounding as when the bands are made: two edges in one bin would leave a band empty.
        bins = [int(edge * (size // 2 + 1)) for edge in edges]
        if len(set(bins)) < len(bins):
            raise ConfigError(
                f"adversary.fft_sizes: {size} samples have too few frequencies for the bands of "
                f"adversary.band_edges={edges}; use larger sizes or fewer bands"
            )
