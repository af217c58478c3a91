"""How far the averaged weights are from those that are trained."""

from collections.abc import Iterator

import torch
from torch import Tensor

from snac_exp.doctor.findings import Finding, named, note, problem
from snac_exp.doctor.groups import by_group, steps_by_group
from snac_exp.doctor.opening import OpenedCheckpoint, Tensors
from snac_exp.doctor.values import relative_change, rms

# An average over the last steps lags behind by what those steps changed, a few percent; this is another model.
LARGEST_DRIFT = 0.5
# After so many times 1 / (1 - decay) steps only 5 % of an average is the model it began with.
FORGETTING = 3.0


def drift_by_group(opened: OpenedCheckpoint) -> dict[str, float]:
    """|average - weights| / |weights| of each group, scalars; empty without averaged weights."""
    if not opened.average:
        return {}
    return {group: relative_change(_common(opened.average, own), own) for group, own in by_group(opened).items()}


def examine_average(opened: OpenedCheckpoint, first: Tensors | None) -> Iterator[Finding]:
    """Findings about the averaged weights; `first`: tensors by name, of any shape, at the run's first checkpoint, for
    averages that stand still."""
    if not opened.average:
        return
    foreign = sorted(set(opened.average) - set(opened.model))
    if foreign:
        yield problem("ema", named(foreign), "averaged, but no part of this model")
    steps = steps_by_group(opened)
    for group, own in by_group(opened).items():
        average, num_steps = _common(opened.average, own), steps.get(group, 0)
        drift, far = relative_change(average, own), _far(average, own)
        # What no step ever changed has an average equal to itself, whatever the decay.
        if num_steps == 0 and drift > 0 and opened.optimizers:
            yield problem(
                "ema", group, f"never trained, yet its average is {drift:.2g} of it off: it is of another model"
            )
        elif far and num_steps:
            yield _about_far(opened, group, far, num_steps)
        # An average may lag, but it may not stay where it was while the weights move.
        elif first is not None and _stands_still(average, own, first, num_steps):
            yield problem("ema", group, f"its average is still that of the start, after {num_steps} steps")


def _far(average: Tensors, own: Tensors) -> list[str]:
    """Names of tensors (of any shape) whose average is far off, measured by the larger of their own size and that of
    their group: what is near zero may well double."""
    size = rms(torch.cat([tensor.flatten().float() for tensor in own.values()]))
    limits = {name: LARGEST_DRIFT * max(rms(own[name]), size) for name in average}
    return [name for name, tensor in average.items() if rms(tensor.float() - own[name].float()) > limits[name]]


def _about_far(opened: OpenedCheckpoint, group: str, far: list[str], num_steps: int) -> Finding:
    decay = (opened.config.get("trainer") or {}).get("ema_decay")
    text = f"the average of {named(far)} is off by more than half after {num_steps} steps"
    # (1 - decay) * steps counts in how many time constants the average has moved.
    if decay is not None and num_steps * (1 - float(decay)) < FORGETTING:
        return note("ema", group, f"{text}: with a decay of {decay} it still remembers the start")
    return problem("ema", group, f"{text}: it does not follow the weights")


def _stands_still(average: Tensors, own: Tensors, first: Tensors, num_steps: int) -> bool:
    """Whether the averages (tensors by name, of any shape) equal the first weights, though the weights moved on."""
    return num_steps > 0 and _same(average, first) and not _same(own, first)


def _same(now: Tensors, then: Tensors) -> bool:
    """Whether all tensors that both have are equal, in shape and every value; False if there are none."""
    known: list[tuple[Tensor, Tensor]] = [(now[name], then[name]) for name in now if name in then]
    return bool(known) and all(a.shape == b.shape and torch.equal(a.float(), b.float()) for a, b in known)


def _common(average: Tensors, own: Tensors) -> Tensors:
    """Averages of a group's tensors, in their order and of their shape."""
    return {name: average[name] for name in own if name in average and average[name].shape == own[name].shape}
