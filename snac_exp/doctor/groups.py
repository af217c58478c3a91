"""Which group of its recipe a tensor belongs to, and which tensor an optimizer's numbers belong to."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from snac_exp.doctor.opening import OpenedCheckpoint, Tensors


@dataclass(frozen=True)
class Moments:
    """What an optimizer remembers of one parameter; `state` is empty if it never stepped it."""

    optimizer: str
    group: str
    name: str
    settings: Mapping[str, Any]
    state: Mapping[str, Any]

    @property
    def steps(self) -> int:
        """How often the optimizer stepped it."""
        return int(self.state["step"]) if "step" in self.state else 0


def group_of(opened: OpenedCheckpoint, name: str) -> str:
    """The recipe's group whose pattern fits a tensor's name; without a recipe, or for parts that it froze, the first
    part of the name (of heads the first two)."""
    for group, pattern in _patterns(opened).items():
        # Frozen parts may match a pattern too, but no optimizer holds them: its moments would get wrong names.
        if not _is_frozen(opened, name) and re.search(pattern, name):
            return group
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "heads" else 1])


def by_group(opened: OpenedCheckpoint) -> dict[str, Tensors]:
    """The model's tensors, of any shape, by group, in the model's order."""
    grouped: dict[str, Tensors] = {}
    for name, tensor in opened.model.items():
        grouped.setdefault(group_of(opened, name), {})[name] = tensor
    return grouped


def moments_of(opened: OpenedCheckpoint) -> Iterator[Moments]:
    """What the optimizers remember, parameter by parameter.

    An optimizer numbers its parameters; names follow from the recipe's patterns and the model's order, where shapes
    show that they fit, else they are like `trunk[3]`.
    """
    for optimizer, saved in opened.optimizers.items():
        for group in saved["param_groups"]:
            # A state dict numbers parameters through all groups, and leaves out those that were never stepped.
            label, states = str(group.get("name", optimizer)), saved["state"]
            remembered = [states.get(index, {}) for index in group["params"]]
            names = _names(opened, optimizer, label, remembered)
            for name, state in zip(names, remembered, strict=True):
                yield Moments(optimizer, label, name, group, state)


def steps_by_name(opened: OpenedCheckpoint) -> dict[str, int]:
    """How often each parameter was stepped, where an optimizer says so."""
    return {item.name: item.steps for item in moments_of(opened)}


def steps_by_group(opened: OpenedCheckpoint) -> dict[str, int]:
    """How often each group was stepped; groups that no optimizer has are not in it."""
    steps: dict[str, int] = {}
    for item in moments_of(opened):
        # The largest, since parameters without a gradient are skipped by AdamW in a step.
        steps[item.group] = max(steps.get(item.group, 0), item.steps)
    return steps


def _patterns(opened: OpenedCheckpoint) -> dict[str, str]:
    groups = (opened.config.get("lr") or {}).get("groups") or {}
    return {str(name): str(pattern) for name, pattern in groups.items() if pattern is not None}


def _is_frozen(opened: OpenedCheckpoint, name: str) -> bool:
    task = opened.config.get("task") or {}
    frozen = [prefix for prefix, key in (("encoder.", "freeze_encoder"), ("quantizer.", "freeze_vq")) if task.get(key)]
    return name.startswith(tuple(frozen))


def _names(opened: OpenedCheckpoint, optimizer: str, group: str, states: list[Mapping[str, Any]]) -> list[str]:
    # Groups that no pattern names belong to the adversary's optimizer.
    model = opened.model if group in _patterns(opened) else opened.adversary
    known = [name for name in model if model is opened.adversary or group_of(opened, name) == group]
    # Shapes are the only proof: another order of the parameters would put moments to wrong names silently.
    fits = len(known) == len(states) and all(
        not isinstance(state.get("exp_avg"), Tensor) or state["exp_avg"].shape == model[name].shape
        for name, state in zip(known, states, strict=True)
    )
    return known if fits else [f"{group}[{index}]" for index in range(len(states))]
