"""Which group of its recipe a tensor belongs to, and which tensor an optimizer's numbers belong to."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from snac_exp.doctor.opening import Patient, Tensors


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


def group_of(patient: Patient, name: str) -> str:
    """The recipe's group whose pattern fits a tensor's name; without a recipe, or for parts that it froze, the first
    part of the name (of heads the first two)."""
    for group, pattern in _patterns(patient).items():
        if not _is_frozen(patient, name) and re.search(pattern, name):
            return group
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "heads" else 1])


def by_group(patient: Patient) -> dict[str, Tensors]:
    """The model's tensors by group, in the model's order."""
    grouped: dict[str, Tensors] = {}
    for name, tensor in patient.model.items():
        grouped.setdefault(group_of(patient, name), {})[name] = tensor
    return grouped


def moments_of(patient: Patient) -> Iterator[Moments]:
    """What the optimizers remember, parameter by parameter.

    An optimizer numbers its parameters; names follow from the recipe's patterns and the model's order, where shapes
    prove that they fit, else they are like `trunk[3]`.
    """
    for optimizer, saved in patient.optimizers.items():
        for group in saved["param_groups"]:
            label, states = str(group.get("name", optimizer)), saved["state"]
            remembered = [states.get(index, {}) for index in group["params"]]
            names = _names(patient, optimizer, label, remembered)
            for name, state in zip(names, remembered, strict=True):
                yield Moments(optimizer, label, name, group, state)


def steps_by_name(patient: Patient) -> dict[str, int]:
    """How often each parameter was stepped, where an optimizer says so."""
    return {item.name: item.steps for item in moments_of(patient)}


def steps_by_group(patient: Patient) -> dict[str, int]:
    """How often each group was stepped; groups that no optimizer has are not in it."""
    steps: dict[str, int] = {}
    for item in moments_of(patient):
        steps[item.group] = max(steps.get(item.group, 0), item.steps)
    return steps


def _patterns(patient: Patient) -> dict[str, str]:
    groups = (patient.config.get("lr") or {}).get("groups") or {}
    return {str(name): str(pattern) for name, pattern in groups.items() if pattern is not None}


def _is_frozen(patient: Patient, name: str) -> bool:
    task = patient.config.get("task") or {}
    frozen = [prefix for prefix, key in (("encoder.", "freeze_encoder"), ("quantizer.", "freeze_vq")) if task.get(key)]
    return name.startswith(tuple(frozen))


def _names(patient: Patient, optimizer: str, group: str, states: list[Mapping[str, Any]]) -> list[str]:
    model = patient.model if group in _patterns(patient) else patient.adversary
    known = [name for name in model if model is patient.adversary or group_of(patient, name) == group]
    fits = len(known) == len(states) and all(
        not isinstance(state.get("exp_avg"), Tensor) or state["exp_avg"].shape == model[name].shape
        for name, state in zip(known, states, strict=True)
    )
    return known if fits else [f"{group}[{index}]" for index in range(len(states))]
