"""What a checkpoint holds, and the numbered format of its file. Readers take fields; only this module knows keys."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from snac_exp.checkpoints.background_writer import snapshot
from snac_exp.checkpoints.state import TrainState
from snac_exp.errors import CheckpointError

Tensors = dict[str, Tensor]
StateDict = dict[str, Any]


def from_1_to_2(old: StateDict) -> StateDict:
    """Optimizers and guards, which lay side by side with the rest and inside the state, get entries of their own."""
    renamed = {"codec": "provenance", "ema": "average", "adversary_model": "adversary"}
    kept = ("model", "config", "environment", "precision", "objective")
    new = {renamed.get(name, name): value for name, value in old.items() if name in (*kept, *renamed)}
    if "optimizer" in old:
        new["optimizers"] = {name: old[name] for name in ("optimizer", "adversary") if name in old}
    if "figures" in old:
        new["failure"] = {"values": old["figures"], "files": old.get("files", [])}
    if isinstance(old.get("state"), dict):
        guards = ("outliers", "rollbacks")
        new["state"] = {name: value for name, value in old["state"].items() if name not in guards}
        new |= {name: old["state"][name] for name in guards if name in old["state"]}
    return new


MIGRATIONS: list[Callable[[StateDict], StateDict]] = [from_1_to_2]
"""What turns a file's content of format n (the first: 1) into that of format n + 1. A new field with a default needs
none; a field that is renamed, moved or required does."""

NUMBER = "format"
VERSION = 1 + len(MIGRATIONS)  # follows by itself: a migration cannot be added without it
_REQUIRED = ("model", "provenance", "config", "environment", "state")


@dataclass(frozen=True)
class Checkpoint:
    """A run at one of its steps. What is None was not saved: a best model has what is needed to use it, not to resume.

    Attributes:
        model: weights by name, each of its own shape; in a best model the averaged ones where the run averages.
        state: position of the run.
        provenance: which codec, and for tokens which frames, the weights belong to: name, fingerprint, config.
        config: the resolved config of the run.
        environment: versions, device and precision that it trained with.
        optimizers: state dicts by name: `optimizer`, and `adversary` where there is one.
        average: averaged (EMA) weights by name, float32.
        adversary: weights of the discriminators by name.
        precision: of the float16 loss scaler; empty without one.
        outliers, rollbacks: what the guards remember, see `snac_exp.training.optimization.guards`.
        extra: state dicts of whatever else a trainer saves, by name.
        objective: the validation objective that made it a best model.
        failure: metrics that were not finite and the files of their batch, in a snapshot before a rollback.
    """

    model: Tensors
    state: TrainState
    provenance: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    optimizers: dict[str, StateDict] | None = None
    average: Tensors | None = None
    adversary: Tensors | None = None
    precision: StateDict | None = None
    outliers: StateDict | None = None
    rollbacks: StateDict | None = None
    extra: dict[str, StateDict] | None = None
    objective: float | None = None
    failure: dict[str, Any] | None = None

    def part(self, name: str) -> Any:
        """The state dict that a trainer saved under a name.

        Raises:
            CheckpointError: it saved none.
        """
        found = getattr(self, name) if name in _FIELDS else (self.extra or {}).get(name)
        # Not `if not found`: without a float16 scaler the state of the precision is empty.
        if found is None:
            raise CheckpointError(f"the checkpoint holds no {name}, which this run needs to resume; use another one")
        return found

    def with_parts(self, parts: Mapping[str, Any]) -> "Checkpoint":
        """The same with state dicts by name; names that are no field of their own go to `extra`."""
        values: dict[str, Any] = {name: value for name, value in parts.items() if name in _FIELDS}
        others = {name: value for name, value in parts.items() if name not in _FIELDS}
        return replace(self, **values, extra=others or None)

    def for_use(self, objective: float, *, with_adversary: bool = False) -> "Checkpoint":
        """Without what only resuming needs: a best model, with the discriminators for whoever begins from it."""
        adversary = self.adversary if with_adversary else None
        return replace(self.without_tensors(), model=self.model, adversary=adversary, objective=objective)

    def without_tensors(self) -> "Checkpoint":
        """What it says about its run, without any weights."""
        return Checkpoint({}, self.state, self.provenance, self.config, self.environment, objective=self.objective)

    def copied(self) -> "Checkpoint":
        """A copy with every tensor on the CPU, so that training may go on changing the originals."""
        values = {name: snapshot(getattr(self, name)) for name in _FIELDS}
        # snapshot copies containers only; `best` inside the state goes on changing.
        return Checkpoint(**values | {"state": copy.deepcopy(self.state)})

    def to_payload(self) -> dict[str, Any]:
        """Plain values and tensors for a file."""
        values = {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}
        return {NUMBER: VERSION, **values, "state": self.state.state_dict()}

    @classmethod
    def from_payload(cls, payload: object, file: str) -> "Checkpoint":
        """The checkpoint of a file's content, brought up to this format; `file` names the file in messages.

        Raises:
            CheckpointError: another program's file, a format from the future, or a part that is missing or malformed.
        """
        values = _migrated(payload, file)
        missing = [name for name in _REQUIRED if name not in values]
        if missing:
            raise CheckpointError(f"{file} lacks the {', '.join(missing)}: it is no checkpoint of a run")
        _check_types(values, file)
        try:
            state = TrainState.from_dict(values["state"])
        except KeyError as error:
            raise CheckpointError(f"{file}: its state lacks {error}; use another checkpoint") from None
        return cls(**values | {"state": state})


_FIELDS = tuple(item.name for item in fields(Checkpoint))


def is_checkpoint(content: object) -> bool:
    """Whether a file's content is of this program, of whatever format; else it may be a plain state dict."""
    return _number(content) is not None


def _number(content: object) -> int | None:
    """The format number; the first files had the parts of format 1 and not always a number."""
    # A plain state dict may well have a tensor called "model".
    if not isinstance(content, dict) or isinstance(content.get("model", {}), Tensor):
        return None
    number = content.get(NUMBER, 1 if {"model", "codec", "config", "state"} <= set(content) else None)
    return number if type(number) is int else None


def _migrated(payload: object, file: str) -> dict[str, Any]:
    number = _number(payload)
    if number is None or number < 1 or not isinstance(payload, dict):
        raise CheckpointError(
            f"{file} is no checkpoint of this program (formats 1 to {VERSION}); was it made by another one?"
        )
    if number > VERSION:
        raise CheckpointError(
            f"{file} has format {number}, and this version of the program reads formats up to {VERSION}; update it"
        )
    # Step by step: a migration knows its own format and the next one, and is never edited again.
    for migrate in MIGRATIONS[number - 1 :]:
        payload = migrate(payload)
    return {name: value for name, value in payload.items() if name != NUMBER}


def _check_types(values: Mapping[str, Any], file: str) -> None:
    """Dictionaries where there should be some, tensors by name where there should be weights, and nothing else."""
    # Refused rather than dropped: it may be state that a resumed run would silently lack.
    unknown = sorted(str(name) for name in values if name not in _FIELDS)
    if unknown:
        raise CheckpointError(f"{file} holds parts that are unknown: {', '.join(unknown)}; was it altered?")
    for name, value in values.items():
        if name != "objective" and not isinstance(value, dict):
            raise CheckpointError(f"{file}: its {name} is a {type(value).__name__}, no dictionary; was it altered?")
    for name in ("model", "average", "adversary"):
        odd = [str(key) for key, item in values.get(name, {}).items() if not isinstance(item, torch.Tensor)]
        if odd:
            raise CheckpointError(f"{file}: {odd[0]} of its {name} is no tensor; was it altered?")
