"""The plan as rows: epochs that do the same are one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snac_exp.report.charts.colours import tints
from snac_exp.report.numbers import DASH, compact

_PLACES = ("epoch", "first_batch", "first_step", "num_steps")
"""What tells entries of equal settings apart."""


@dataclass(frozen=True)
class PlanRow:
    """Epochs of equal settings; a rate of a dash is frozen. terms: those that the phase weighs otherwise."""

    epochs: str
    steps: str
    stage: str
    phase: str
    segment: str
    tokens: str
    batch: str
    schedule: str
    rates: list[str]
    weights: list[str]
    terms: str


@dataclass(frozen=True)
class PlanTable:
    """groups and heads are the columns of rates and weights, with their colours."""

    groups: list[tuple[str, str]]
    heads: list[tuple[str, str]]
    rows: list[PlanRow]
    num_epochs: int
    num_steps: int | None
    length_name: str


def plan_table(plan: Mapping[str, Any]) -> PlanTable | None:
    """The table of a stored plan; None if there is none yet."""
    epochs = plan.get("epochs") or []
    if not epochs:
        return None
    merged: list[list[Mapping[str, Any]]] = []
    for epoch in epochs:
        # Neighbours alone: epochs that return to earlier settings are a row of their own, in their place.
        if merged and _settings(merged[-1][0]) == _settings(epoch):
            merged[-1].append(epoch)
        else:
            merged.append([epoch])
    groups, heads = list(epochs[0]["peak_rates"]), list(epochs[0]["loss_weights"])
    colours = tints([*groups, *(head for head in heads if head not in groups)])
    return PlanTable(
        groups=[(name, colours[name]) for name in groups],
        heads=[(name, colours[name]) for name in heads],
        rows=[_row(items, groups, heads) for items in merged],
        # An epoch in which a phase begins has several entries.
        num_epochs=epochs[-1]["epoch"],
        num_steps=plan.get("num_steps"),
        # Token models train on frames, which have no length in seconds in the plan.
        length_name="frames" if epochs[0].get("segment_seconds") is None else "tokens",
    )


def _settings(epoch: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in epoch.items() if key not in _PLACES}


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _steps(first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    """Steps from the first to the last entry; a dash in plans of earlier versions, which have none."""
    if first.get("first_step") is None or last.get("num_steps") is None:
        return DASH
    return _span(first["first_step"] + 1, last["first_step"] + last["num_steps"])


def _row(items: list[Mapping[str, Any]], groups: list[str], heads: list[str]) -> PlanRow:
    first, last = items[0], items[-1]
    seconds = first.get("segment_seconds")
    return PlanRow(
        epochs=_span(first["epoch"], last["epoch"]),
        steps=_steps(first, last),
        stage=str(first["stage"]),
        phase=str(first["phase"]),
        segment=DASH if seconds is None else f"{seconds:g} s",
        tokens=str(first["num_tokens"]),
        batch=str(first["batch_size"]),
        schedule=str(first["schedule"]).replace("_", " "),
        rates=[
            "frozen" if first["peak_rates"][name] is None else compact(first["peak_rates"][name]) for name in groups
        ],
        weights=[f"{first['loss_weights'][name]:g}" for name in heads],
        terms=", ".join(f"{name} {weight:g}" for name, weight in first.get("term_weights", {}).items()),
    )
