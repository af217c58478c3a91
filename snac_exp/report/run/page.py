"""RUN_DIR/report.html: one run on one page, from what lies in its folder."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snac_exp.report.charts.curves import loss_panels, marks_of, other_panels, rate_chart, speed_charts
from snac_exp.report.compare.sounds import FLAC_SHARE
from snac_exp.report.labels import written_notes
from snac_exp.report.listening.clips import REFERENCE, Clip, chosen_epochs
from snac_exp.report.listening.grid import ClipGrid, make_grid
from snac_exp.report.numbers import duration, figure, megabytes
from snac_exp.report.render import render
from snac_exp.report.run.evaluation import evaluation
from snac_exp.report.run.notes import read_notes
from snac_exp.report.run.plan_table import plan_table
from snac_exp.report.run.record import Record, read_record
from snac_exp.report.run.sources import source_table
from snac_exp.report.run.speed import step_split
from snac_exp.report.settings import ABSENT, differs_from_defaults
from snac_exp.system.files import left_beside, remove_left, write_text
from snac_exp.tracking.run_folder import RunFolder

MOST_MEGABYTES = 24.0
"""Of sound in a page, by default: what a browser opens at once, and a mail may carry."""

_SECTIONS = {
    "summary": "Summary", "evaluation": "Evaluation", "listen": "Listen", "losses": "Losses", "rates": "Learning rates",
    "speed": "Speed", "more": "More figures", "plan": "Plan", "checks": "Checks", "config": "Config",
    "environment": "Environment",
}  # fmt: skip


@dataclass(frozen=True)
class SummaryValue:
    """A value of the summary."""

    name: str
    value: str
    about: str = ""


def write_report(run_dir: Path, most_megabytes: float = MOST_MEGABYTES) -> Path:
    """Write RUN_DIR/report.html, whatever state the run is in; returns its path.

    `most_megabytes` bounds the sound in it: long runs show fewer epochs, evenly spread.

    Raises:
        ConfigError: there is no run, or a file of it is not what a run writes.
    """
    path = RunFolder(run_dir).report
    remove_left(left_beside(path))
    write_text(path, report_page(read_record(Path(run_dir)), most_megabytes))
    return path


def report_page(run: Record, most_megabytes: float = MOST_MEGABYTES) -> str:
    """The page of a run."""
    metrics, notes = run.metrics, read_notes(run.path, run.log)
    marks = marks_of(run.plan, metrics)
    grids, listening_notes = _grids(run.clips, most_megabytes)
    others = other_panels(metrics, marks)
    skipped = metrics.series.get("train/skipped_outlier")
    return render(
        "report.html.j2",
        {
            "run": run,
            "contents": [(key, title) for key, title in _SECTIONS.items() if key != "more" or others],
            "problems": _problems(run),
            "written_notes": written_notes(run.labels),
            "summary_values": _summary_values(run),
            "sources": source_table(metrics),
            "evaluation": evaluation(run.summary),
            "grids": grids,
            "listening_notes": listening_notes,
            "losses": loss_panels(metrics, marks),
            "has_phases": bool(marks.phases),
            "has_stages": bool(marks.stages),
            "rates": rate_chart(metrics, marks),
            "split": step_split(metrics),
            "speeds": speed_charts(metrics),
            "others": others,
            "plan": plan_table(run.plan),
            "notes": notes,
            "skipped": None if skipped is None else len(skipped),
            "config": _config(run.config),
            "written": time.strftime("%Y-%m-%d %H:%M:%S"),
            "sizes": _sizes(grids),
        },
    )


def _grids(clips: tuple[Clip, ...], most_megabytes: float) -> tuple[list[ClipGrid], list[str]]:
    """The clips with as many epochs as the page has room for, and what was left out."""
    sizes: dict[int, int] = {}
    for clip in clips:
        for epoch, files in clip.files.items():
            # References are embedded once per clip, not once per epoch.
            wanted = sum(path.stat().st_size for label, path in files.items() if not label.startswith(REFERENCE))
            sizes[epoch] = sizes.get(epoch, 0) + round(FLAC_SHARE * wanted)
    epochs = chosen_epochs(sizes, round(most_megabytes * 1e6)) if sizes else []
    grids = [_grid(clip, epochs) for clip in clips if any(epoch in clip.files for epoch in epochs)]
    if len(epochs) == len(sizes):
        return grids, []
    left_out = f"{len(sizes) - len(epochs)} of {len(sizes)} epochs are left out to keep the page small; all lie in "
    return grids, [f"{left_out}samples/. More fit with max_megabytes= of snac-exp report."]


def _grid(clip: Clip, epochs: list[int]) -> ClipGrid:
    mine = [epoch for epoch in epochs if epoch in clip.files]
    columns = ["before training" if epoch == 0 else f"{clip.unit} {epoch}" for epoch in mine]
    return make_grid(
        clip.name, columns, {label: [clip.files[epoch].get(label) for epoch in mine] for label in clip.labels}
    )


def _problems(run: Record) -> list[str]:
    broken, lines = run.metrics.num_broken, run.metrics.num_lines
    lost = [f"{broken:,} of {lines:,} lines of metrics.jsonl are damaged and left out."] if broken else []
    return [*lost, *([f"{run.labels_damage}."] if run.labels_damage is not None else [])]


def _summary_values(run: Record) -> list[SummaryValue]:
    """Key values of the run, those that are known."""
    metrics, epochs = run.metrics, run.plan.get("epochs") or []
    steps = figure(run.step) if run.num_steps is None else f"{figure(run.step)} of {figure(run.num_steps)}"
    reached = f"epoch {max(metrics.last_steps, default=0)}" + (f" of {epochs[-1]['epoch']}" if epochs else "")
    summary_values = [
        SummaryValue("Steps", steps, reached),
        SummaryValue("Time", duration(metrics.seconds), "first to last logged line"),
    ]
    objective = metrics.series.get("val/objective")
    if objective is not None and len(objective.finite):
        values, places = objective.finite.values, objective.finite.steps
        best = f"step {places[values.argmin()]:,.0f}"
        # Step 0 is the validation before training.
        before = f", {figure(float(values[0]))} before training" if places[0] == 0 else ""
        summary_values.append(SummaryValue("Best objective", figure(float(values.min())), f"{best}{before}"))
    speed = metrics.series.get("speed/audio_seconds_per_second")
    if speed is not None and len(speed.finite):
        summary_values.append(
            SummaryValue("Throughput", f"{figure(float(speed.finite.values.mean()), 3)} s/s", "mean, audio per second")
        )
    device, codec = run.environment.get("device"), run.environment.get("codec")
    summary_values += [SummaryValue("Codec", str(codec), f"seed {run.config.get('seed', 'not set')}")] if codec else []
    summary_values += [SummaryValue("Device", str(device), str(run.environment.get("precision", "")))] if device else []
    return summary_values


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    found, unknown = differs_from_defaults(config)
    return {
        # Keys that the program has learned since are counted, not listed: the run could not set them.
        "differences": [item for item in found if item.values[1] != ABSENT],
        "num_newer": sum(item.values[1] == ABSENT for item in found),
        "unknown": unknown,
        "yaml": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
    }


def _sizes(grids: list[ClipGrid]) -> dict[str, str]:
    cells = [cell for grid in grids for cell in grid.cells]
    return {
        "sounds": megabytes(sum(cell.sound.num_bytes for cell in cells)),
        "pictures": megabytes(sum(cell.picture.num_bytes for cell in cells if cell.picture is not None)),
    }
