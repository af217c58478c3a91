"""Every parameter in exactly one group, or frozen by the task: no default group, no first match wins."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import nn

from snac_exp.errors import ConfigError

NamedParameters = dict[str, nn.Parameter]


@dataclass(frozen=True)
class ParameterGroups:
    """Named groups of trainable parameters, the parameters that the task froze, and those that it moves itself."""

    groups: dict[str, NamedParameters]
    frozen: NamedParameters
    averages: NamedParameters = field(default_factory=dict)

    def set_trainable(self, names: frozenset[str]) -> None:
        """Let exactly these groups require gradients; everything else keeps its value bit for bit."""
        for name, parameters in self.groups.items():
            for parameter in parameters.values():
                parameter.requires_grad_(name in names)
                if name not in names:
                    parameter.grad = None  # a stale gradient would still be applied by the optimiser
        for parameter in (*self.frozen.values(), *self.averages.values()):
            parameter.requires_grad_(False)


def group_parameters(
    model: nn.Module,
    patterns: Mapping[str, str | None],
    frozen_prefixes: tuple[str, ...],
    averages: Collection[str] = (),
) -> ParameterGroups:
    """Sort the parameters of `model` by regular expression.

    Args:
        patterns: group name -> pattern searched in the parameter's name; None means that there is no such group.
        frozen_prefixes: parameters under these children (e.g. `encoder.`) belong to no group and never train.
        averages: names of parameters of no group that move otherwise than by gradients.

    Raises:
        ConfigError: a parameter matches no pattern or several, or a pattern matches nothing.
    """
    groups: dict[str, NamedParameters] = {name: {} for name, pattern in patterns.items() if pattern is not None}
    frozen: NamedParameters = {}
    moved: NamedParameters = {}
    for name, parameter in model.named_parameters():
        if name in averages or name.startswith(frozen_prefixes):
            (moved if name in averages else frozen)[name] = parameter
            continue
        matches = [group for group, pattern in patterns.items() if pattern is not None and re.search(pattern, name)]
        # Both are silent otherwise: a parameter that never learns, or one that learns at the rate of another group.
        if len(matches) != 1:
            found = f"several patterns of lr.groups: {', '.join(matches)}" if matches else "no pattern of lr.groups"
            raise ConfigError(f"parameter '{name}' matches {found}; every parameter needs exactly one")
        groups[matches[0]][name] = parameter
    for group, parameters in groups.items():
        if not parameters:
            raise ConfigError(f"lr.groups.{group}='{patterns[group]}' matches no parameter; fix it or set it to null")
    return ParameterGroups(groups, frozen, moved)
