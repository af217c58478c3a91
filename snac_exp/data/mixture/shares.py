"""How much of a mixture each source is: by weights, or by a temperature over hours."""

import math
from collections.abc import Mapping, Sequence

from snac_exp.errors import ConfigError

Shares = tuple[float, ...]


def shares_of(weights: Mapping[str, float | None], hours: Sequence[float], temperature: float | None) -> Shares:
    """The share of every source in the slices of an epoch; they add up to 1.

    weights: of each source by name, all of them or none. hours: of training audio of each. temperature: without
    weights the shares go by hours ** (1 / temperature): 1 (and None) by hours, inf all alike.

    Raises:
        ConfigError: a weight or the temperature is not above 0, or both are given, or weights of some sources alone.
    """
    given = {name: weight for name, weight in weights.items() if weight is not None}
    for name, weight in given.items():
        # Written so that NaN is refused too.
        if not 0 < weight < math.inf:
            raise ConfigError(
                f"data.sources.{name}.weight={weight} must be a number greater than 0; leave a source out instead"
            )
    if given and temperature is not None:
        raise ConfigError("data.temperature takes the place of weights; leave it out, or the weights of data.sources")
    if given and len(given) < len(weights):
        lacking = next(name for name in weights if name not in given)
        raise ConfigError(f"data.sources.{lacking} has no weight, others have; give all of them one, or none")
    if temperature is not None and not temperature > 0:
        raise ConfigError(f"data.temperature={temperature} must be greater than 0; 1 = by hours, .inf = all alike")
    parts = list(given.values()) or [part ** (1 / (temperature or 1.0)) for part in hours]
    return tuple(part / math.fsum(parts) for part in parts)


def counts_of(names: Sequence[str], shares: Shares, total: int) -> tuple[int, ...]:
    """Items of every source in an epoch of `total`, by largest remainder.

    Raises:
        ConfigError: a source would have none.
    """
    exact = [share * total for share in shares]
    counts = [int(part) for part in exact]
    order = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])  # largest remainder first
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    for name, share, count in zip(names, shares, counts, strict=True):
        if count == 0:
            raise ConfigError(
                f"data.sources.{name} has {share:.2g} of the mixture, less than one of {total} items of an epoch; "
                "raise its weight or data.epoch_rows, or leave it out"
            )
    return tuple(counts)
