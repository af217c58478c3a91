"""The whole examination: open, look at everything, say what it means."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from snac_exp.checkpoints.store import Entry
from snac_exp.doctor.average import drift_by_group, examine_average
from snac_exp.doctor.changes import changes, examine_changes, in_names_of
from snac_exp.doctor.codebooks import examine_codebooks
from snac_exp.doctor.findings import Finding, problem, problems
from snac_exp.doctor.groups import by_group, steps_by_group
from snac_exp.doctor.history import Divergence, Line, around, divergence, examine_history, lines_of
from snac_exp.doctor.loading import examine_loading, is_of_folder
from snac_exp.doctor.moments import examine_moments
from snac_exp.doctor.opening import OpenedCheckpoint, Tensors, entries_of, file_of, open_checkpoint, run_of
from snac_exp.doctor.recovery import RecoveryPoint, examine_file, last_good
from snac_exp.doctor.report import GroupStatistics, Report
from snac_exp.doctor.values import examine_values, examine_weight_norm, weight_norm_ranges
from snac_exp.errors import CheckpointError
from snac_exp.tracking.run_folder import RunFolder


def examine(source: Path, against: Path | None = None) -> Report:
    """Look at a checkpoint, a plain state dict, or a run's newest checkpoint.

    Against another checkpoint where one is given, else, in a run, against its oldest one.

    Raises:
        CheckpointError: there is nothing at `source`, or `against` cannot be opened.
    """
    path, whole_run = file_of(source), source.is_dir()
    run_dir = run_of(path) or (run_of(source) if whole_run else None)
    # Even where the file cannot be opened, its hash and the run's losses say something.
    findings = list(examine_file(path, _entry(run_dir, path)))
    other = None if against is None else open_checkpoint(file_of(against))
    try:
        opened = open_checkpoint(path)
    except CheckpointError as error:
        lines = lines_of(run_dir, None)
        findings += [problem("file", path.name, str(error)), *examine_history(lines, run_dir, whole_run=whole_run)]
        return _concluded(Report(path, run_dir, "not opened", findings, ""), lines, None)
    # What came after a checkpoint says nothing about it.
    lines = lines_of(run_dir, None if whole_run else opened.step)
    first = _first_of(run_dir, opened)
    findings += _examine_opened(opened, first, lines)
    findings += [] if other is None else _examine_against(opened, other, first)
    findings += examine_history(lines, run_dir, whole_run=whole_run)
    findings += [] if problems(findings) else examine_loading(opened)  # which would only repeat what was found
    compared = other or first
    report = Report(
        path,
        run_dir,
        _about(opened),
        findings,
        "",
        groups=_groups(opened, compared),
        compared_with=None if compared is None else _title(compared, run_dir),
        weight_norm=weight_norm_ranges(opened.model),
    )
    return _concluded(report, lines, first)


def _entry(run_dir: Path | None, path: Path) -> Entry | None:
    entries = entries_of(run_dir) if run_dir is not None else []
    return next((item for item in entries if item.file == path.name), None)


def _examine_opened(
    opened: OpenedCheckpoint, first: OpenedCheckpoint | None, lines: Sequence[Line]
) -> Iterator[Finding]:
    """Everything that a checkpoint says by itself and beside the run's oldest one."""
    start: Tensors | None = None if first is None else first.model
    yield from examine_values(opened, start)
    yield from examine_weight_norm(opened)
    yield from examine_moments(opened)
    yield from examine_average(opened, start)
    yield from examine_codebooks(opened, lines)
    if first is not None:
        yield from examine_changes(opened, first.model, first.path.name, same_run=True)


def _examine_against(
    opened: OpenedCheckpoint, other: OpenedCheckpoint, first: OpenedCheckpoint | None
) -> Iterator[Finding]:
    if first is None or other.path.resolve() != first.path.resolve():
        # Two runs may differ in everything, so only within one run a difference is a problem.
        same_run = other.run_dir is not None and other.run_dir == opened.run_dir
        title = _title(other, opened.run_dir)
        yield from examine_changes(opened, in_names_of(opened, other.model), title, same_run=same_run)


def _first_of(run_dir: Path | None, opened: OpenedCheckpoint) -> OpenedCheckpoint | None:
    """The run's oldest checkpoint that can be opened, if it is older than the opened one."""
    # The oldest first: the longer the way, the clearer what moved and what stood still.
    for entry in reversed(entries_of(run_dir)) if run_dir is not None else ():
        if opened.step is None or entry.step >= opened.step:
            return None
        path = RunFolder(run_dir).checkpoints / entry.file if run_dir is not None else Path(entry.file)
        # Of a damaged file nothing can be compared; the next oldest serves as well.
        if list(examine_file(path, entry)):
            continue
        return open_checkpoint(path)
    return None


def _groups(opened: OpenedCheckpoint, other: OpenedCheckpoint | None) -> list[GroupStatistics]:
    steps, drifts = steps_by_group(opened), drift_by_group(opened)
    changed = {} if other is None else {item.group: item for item in changes(opened, in_names_of(opened, other.model))}
    return [
        GroupStatistics(
            group,
            len(own),
            sum(tensor.numel() for tensor in own.values()),
            steps.get(group, 0),
            changed.get(group),
            drifts.get(group),
        )
        for group, own in by_group(opened).items()
    ]


def _concluded(report: Report, lines: Sequence[Line], first: OpenedCheckpoint | None) -> Report:
    """The report with the losses, its verdict and, in a run, the checkpoint to go back to."""
    found = divergence(lines)
    report = replace(report, history=_rows(lines, found))
    wrong = problems(report.findings)
    if not wrong:
        return replace(report, verdict="healthy: nothing wrong was found")

    def is_sound(opened: OpenedCheckpoint) -> bool:
        until_then = [line for line in lines if opened.step is None or line["step"] <= opened.step]
        # The first checkpoint has nothing before it.
        start = None if first is None or first.path == opened.path else first
        return not problems(_examine_opened(opened, start, until_then)) and not examine_loading(opened)

    good_step = None if found is None else found.good_step
    # Where the losses alone are wrong, the newest checkpoint may be the one to go back to.
    unsound = report.path.resolve() if any(item.check != "history" for item in wrong) else None
    recovery = None if report.run_dir is None else last_good(report.run_dir, good_step, is_sound, unsound, first)
    return replace(report, verdict=_verdict(report, wrong, recovery), last_good=recovery)


def _verdict(report: Report, wrong: Sequence[Finding], recovery: RecoveryPoint | None) -> str:
    count = "1 problem" if len(wrong) == 1 else f"{len(wrong)} problems"
    text = f"not healthy: {count} ({', '.join(dict.fromkeys(item.check for item in wrong))}). "
    if report.run_dir is None:
        return text + "It lies in no run folder, so there is nothing to go back to: use another file"
    if recovery is None:
        return text + "None of the run's checkpoints is good: begin again"
    return (
        f"{text}The last good checkpoint is {recovery.file} (step {recovery.step}); {recovery.advice(report.run_dir)}"
    )


def _about(opened: OpenedCheckpoint) -> str:
    num_values = sum(tensor.numel() for tensor in opened.model.values())
    size = f"{len(opened.model)} tensors, {num_values / 1e6:.1f} million values"
    state = opened.state
    if state is None:
        alone = "" if is_of_folder(opened.path) else "; loads only from a folder, with its config.json"
        return f"plain state dict: {size}{opened.note and '; ' + opened.note}{alone}"
    name = opened.config.get("name", "?")
    extras = list(dict.fromkeys([*opened.optimizers, *(part for part in opened.tensors_by_part if part != "model")]))
    held = f"; with {', '.join(extras)}" if extras else "; weights only"
    return f"checkpoint of {name}, step {state.step}, epoch {state.epoch}: {size}{held}"


def _title(opened: OpenedCheckpoint, run_dir: Path | None) -> str:
    return opened.path.name if run_dir is not None and opened.run_dir == run_dir else str(opened.path)


def _rows(lines: Sequence[Line], found: Divergence | None) -> list[dict[str, Any]]:
    """What is shown of the losses: step, loss, gradient norm, learning rates."""
    shown = ("step", "epoch", "train/loss", "train/grad_norm")
    return [
        {name: value for name, value in line.items() if name in shown or name.startswith("lr/")}
        for line in around(lines, found)
    ]
