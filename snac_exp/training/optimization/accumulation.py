"""One optimiser step out of several micro-batches and ranks, with the metrics of the whole batch.

Every term is a mean over what its batch scores, so the mean of the whole is the mean of the parts weighted by how much
each scores. Each part's loss is scaled by its share before its backward pass: gradients then add up to the gradient of
the whole, whatever the parts' sizes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


def shares(weights: Sequence[float], total: float | None = None, world_size: int = 1) -> list[float]:
    """Each part's share of the total weight: of these parts, or of those of all ranks.

    A data-parallel wrapper averages gradients over the ranks, so shares are `world_size` times as large.

    Raises:
        ValueError: a weight is negative, or none is positive, so there is no mean.
    """
    total = sum(weights) if total is None else total
    if min(weights, default=0.0) < 0 or not total > 0:
        raise ValueError(f"weights {list(weights)} have no mean")
    return [world_size * weight / total for weight in weights]


def accumulate(
    parts: Iterable[tuple[float, T]],
    measure: Callable[[T], Mapping[str, Tensor]],
    total: Callable[[Mapping[str, Tensor]], Tensor],
    backward: Callable[[Tensor], None],
    unsynchronised: Callable[[bool], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> dict[str, Tensor]:
    """Gradients of all parts, and the means of all their terms and of their `loss`, detached.

    Args:
        parts: (share, micro-batch); see `shares`.
        measure: scalar terms of a micro-batch, each the mean over what it scores.
        total: the loss from the terms.
        backward: called with each part's scaled loss.
        unsynchronised: makes the context of a part, given whether gradients need not meet yet: for all but the last.
    """
    pending = list(parts)
    means: dict[str, Tensor] = {}
    for i, (share, part) in enumerate(pending):
        with unsynchronised(i < len(pending) - 1):
            terms = measure(part)
            loss = total(terms)
            # Within the context, which decides whether the gradients of the ranks meet.
            backward(loss * share)
        for name, value in {"loss": loss, **terms}.items():
            # Summed on the device: reading the values here would wait for it at every micro-batch.
            scaled = value.detach() * share
            means[name] = means[name] + scaled if name in means else scaled
    return means
