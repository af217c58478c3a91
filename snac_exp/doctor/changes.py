"""What is different from another checkpoint, group by group."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from snac_exp.doctor.findings import Finding, named, note, problem
from snac_exp.doctor.groups import by_group, steps_by_group
from snac_exp.doctor.opening import OpenedCheckpoint, Tensors
from snac_exp.doctor.values import relative_change

_UPSTREAM = re.compile(r"^decoder\.model\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class Change:
    """A group against another checkpoint: how many of its tensors differ in a bit, and |now - then| / |then|."""

    group: str
    num_tensors: int
    num_changed: int
    relative: float


def changes(opened: OpenedCheckpoint, other: Tensors) -> list[Change]:
    """Every group that both have something of; `other`: tensors by name, of any shape."""
    found = []
    for group, own in by_group(opened).items():
        common = {name: tensor for name, tensor in own.items() if _comparable(tensor, other.get(name))}
        if common:
            # Equal bit for bit, not nearly: a part that is frozen may not move at all.
            num = sum(not torch.equal(tensor, other[name].to(tensor.dtype)) for name, tensor in common.items())
            found.append(Change(group, len(common), num, relative_change(common, other)))
    return found


def examine_changes(opened: OpenedCheckpoint, other: Tensors, title: str, *, same_run: bool) -> Iterator[Finding]:
    """Findings about what differs. `other`: tensors by name, of any shape. `same_run`: it is of the same run, so what
    no optimizer has stepped must be equal bit for bit."""
    missing, added = sorted(set(other) - set(opened.model)), sorted(set(opened.model) - set(other))
    resized = [name for name in opened.model if name in other and other[name].shape != opened.model[name].shape]
    # Within a run neither names nor shapes can change; another checkpoint may be of another recipe.
    report = problem if same_run else note
    for names, text in (
        (missing, f"in {title}, and missing here"),
        (added, f"here, and not in {title}"),
        (resized, f"of another shape than in {title}"),
    ):
        if names:
            yield report("changes", named(names), text)
    # Without an optimizer's state nothing says what was frozen.
    if same_run and opened.optimizers:
        yield from _frozen_but_changed(opened, other, title)


def _frozen_but_changed(opened: OpenedCheckpoint, other: Tensors, title: str) -> Iterator[Finding]:
    """Groups without a single step of an optimizer that are not what they were; tensors by name, of any shape."""
    steps = steps_by_group(opened)
    for change in changes(opened, other):
        if change.num_changed and not steps.get(change.group):
            text = f"no optimizer ever stepped it, yet {change.num_changed} of {change.num_tensors} tensors changed"
            yield problem("changes", change.group, f"{text} since {title}: what is frozen must stay bit for bit")


def in_names_of(opened: OpenedCheckpoint, other: Tensors) -> Tensors:
    """The other's tensors, of any shape, under this one's names: upstream's decoder layers are our trunk, and the last
    of them our head at the codec's own rate."""
    layers = [int(found[1]) for name in other if (found := _UPSTREAM.match(name))]
    head = _native_head(opened.model)
    if not layers or not any(name.startswith("trunk.") for name in opened.model):
        return other
    # The last two layers with parameters are Snake and convolution; the tanh after them has none.
    ends = {max(layers) - 1: f"heads.{head}.snake", max(layers): f"heads.{head}.conv"} if head else {}
    renamed = {}
    for name, tensor in other.items():
        found = _UPSTREAM.match(name)
        index = int(found[1]) if found else -1
        renamed[f"{ends.get(index, f'trunk.{index}')}.{found[2]}" if found else name] = tensor
    return renamed


def _native_head(model: Tensors) -> str | None:
    """The head that is only Snake and convolution; tensors by name, of any shape."""
    heads = {name.split(".")[1] for name in model if name.startswith("heads.")}
    return next((head for head in sorted(heads) if not any(f"heads.{head}.block." in name for name in model)), None)


def _comparable(tensor: Tensor, other: Tensor | None) -> bool:
    """Whether both are there and of one shape."""
    return other is not None and other.shape == tensor.shape
