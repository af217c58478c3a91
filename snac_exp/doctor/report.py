"""What an examination came to, for people and for machines."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from snac_exp.doctor.changes import Change
from snac_exp.doctor.findings import Finding, problems
from snac_exp.doctor.recovery import RecoveryPoint

MAX_FINDINGS = 20  # of one check, before the table only counts them; format=json has all


@dataclass(frozen=True)
class GroupStatistics:
    """A group of the model. `change`: against the other checkpoint; `drift`: of the averaged weights."""

    group: str
    num_tensors: int
    num_values: int
    steps: int
    change: Change | None
    drift: float | None


@dataclass(frozen=True)
class Report:
    """What came of it. `compared_with`: the other checkpoint, for `change`; `last_good`: where to go back to."""

    path: Path
    run_dir: Path | None
    about: str
    findings: list[Finding]
    verdict: str
    groups: list[GroupStatistics] = field(default_factory=list)
    compared_with: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    last_good: RecoveryPoint | None = None
    weight_norm: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """No finding is a problem."""
        return not problems(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; values that are not finite are null."""
        values: dict[str, Any] = _plain(asdict(self) | {"healthy": self.healthy})
        return values


def as_json(report: Report) -> str:
    """All of it, for machines."""
    return json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)  # NaN is null by now


def as_text(report: Report) -> RenderableType:
    """What a person reads: the groups, the losses where they tell something, the findings, the verdict."""
    parts: list[RenderableType] = [f"{escape(str(report.path))}\n{escape(report.about)}"]
    if report.groups:
        parts.append(_group_table(report))
    if report.weight_norm:
        parts.append(_weight_norm_line(report.weight_norm))
    if report.history and any(item.check == "history" for item in problems(report.findings)):
        parts.append(_loss_table(report.history))
    return Group(*parts, *_finding_lines(report.findings), escape(report.verdict))


def _group_table(report: Report) -> Table:
    table = Table(title=None if report.compared_with is None else f"against {escape(report.compared_with)}")
    rows = [_group_cells(item) for item in report.groups]
    # A column without a single value says nothing, as steps of a plain state dict.
    shown = [name for name in rows[0] if any(row[name] for row in rows)]
    for name in shown:
        table.add_column(name, justify="left" if name == "group" else "right")
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def _group_cells(item: GroupStatistics) -> dict[str, str]:
    change = item.change
    return {
        "group": escape(item.group),
        "tensors": str(item.num_tensors),
        "values": f"{item.num_values:,}",
        "steps": str(item.steps) if item.steps else "",
        "tensors changed": "" if change is None else f"{change.num_changed}/{change.num_tensors}",
        "change": "" if change is None else f"{change.relative:.3g}",
        "EMA drift": "" if item.drift is None else f"{item.drift:.3g}",
    }


def _weight_norm_line(layers: dict[str, dict[str, float]]) -> str:
    smallest = min(layers, key=lambda name: layers[name]["gain_min"])
    largest = max(layers, key=lambda name: layers[name]["gain_max"])
    return (
        f"weight norm: {len(layers)} layers, gains from {layers[smallest]['gain_min']:.3g} ({escape(smallest)}) "
        f"to {layers[largest]['gain_max']:.3g} ({escape(largest)})"
    )


def _loss_table(rows: Sequence[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*(escape(name) for name in names), title="training around it")
    for row in rows:
        # A rate of a group that is frozen by then has no value at all.
        table.add_row(*(_cell(row[name]) if name in row else "" for name in names))
    return table


def _cell(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"


def _finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    shown: dict[tuple[str, str], int] = {}
    # Problems first; the sort is stable, so checks stay in their order.
    for item in sorted(findings, key=lambda item: item.severity != "problem"):
        key = (item.severity, item.check)
        shown[key] = shown.get(key, 0) + 1
        style = "bold red" if item.severity == "problem" else "yellow"
        if shown[key] <= MAX_FINDINGS:
            text = f"{item.check}: {item.subject}: {item.text}"
            yield f"[{style}]{item.severity}[/]  {escape(text)}"
    for (severity, check), number in shown.items():
        if number > MAX_FINDINGS:
            yield f"{severity}  {check}: {number - MAX_FINDINGS} more; format=json lists them"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and value - value != 0:  # NaN or infinite
        return None
    return value
