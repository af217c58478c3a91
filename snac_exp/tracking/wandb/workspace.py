"""A W&B workspace out of a plain description: what `dashboards/NAME.py` lists becomes panels."""

import importlib
import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError


@dataclass(frozen=True)
class Lines:
    """Curves of all runs: of the `metrics` named, or of all whose name fits the regular expression `pattern`.

    x: `step` or `epoch`, which every row has. stacked: areas on top of each other.
    """

    title: str
    metrics: list[str] = field(default_factory=list)
    pattern: str | None = None
    x: str = "step"
    log: bool = False
    stacked: bool = False


@dataclass(frozen=True)
class Bars:
    """One bar per run and metric, of the value in the run's summary (`NAME.min` where the lowest is kept)."""

    title: str
    metrics: list[str]


@dataclass(frozen=True)
class Media:
    """Sounds or pictures side by side, a column per run; W&B has a slider for the validations."""

    title: str
    keys: list[str]


@dataclass(frozen=True)
class Rows:
    """The newest table that runs logged under a name."""

    name: str


@dataclass(frozen=True)
class Parallel:
    """A line per run through axes of config values (dotted paths) to a summary value."""

    title: str
    config: list[str]
    metric: str


@dataclass(frozen=True)
class Text:
    """A note in Markdown."""

    markdown: str


Panel = Lines | Bars | Media | Rows | Parallel | Text


@dataclass(frozen=True)
class Section:
    """Panels under a title, `columns` of them in a row."""

    name: str
    panels: Sequence[Panel]
    columns: int = 3
    is_open: bool = True


Definition = Callable[[Sequence[str], int], Sequence[Section]]


def definition(directory: Path, name: str) -> Definition:
    """The function `sections(heads, num_clips)` of DIRECTORY/NAME.py.

    Raises:
        ConfigError: there is none.
    """
    path = directory / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in directory.glob("*.py"))) or "nothing"
        raise ConfigError(f"definition={name}: there is no {path}; choose one of: {known}")
    found = runpy.run_path(str(path)).get("sections")
    if not callable(found):
        raise ConfigError(f"{path} has no function sections(heads, num_clips)")
    function: Definition = found
    return function


def workspace(title: str, sections: Sequence[Section], project: str, entity: str) -> Any:
    """The description as an object of wandb-workspaces; makes no connection.

    Raises:
        ConfigError: the package is not installed.
    """
    ws = _module("wandb_workspaces.workspaces")
    columns = ["run:displayName", "run:tags", "run:group", "summary:val/objective.min"]
    return ws.Workspace(
        name=title,
        entity=entity,
        project=project,
        sections=[_section(ws, item) for item in sections],
        settings=ws.WorkspaceSettings(x_axis="step", smoothing_type="none", group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(pinned_columns=columns),
        auto_generate_panels=False,
    )


def spec_of(built: Any) -> dict[str, Any]:
    """What W&B would get, as plain values."""
    # Private, but the only way to see what would be sent without a connection.
    spec: dict[str, Any] = built._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return spec


def publish(built: Any) -> str:
    """Give it to W&B as a new workspace of its project; returns its address.

    Raises:
        ConfigError: W&B refuses it, or cannot be reached.
    """
    import wandb

    try:
        built.save()
    except (wandb.errors.Error, ValueError) as error:
        raise ConfigError(f"W&B did not take the workspace ({error}): check project, entity and network") from error
    return str(built.url)


def _section(ws: Any, section: Section) -> Any:
    wr = _module("wandb_workspaces.reports.v2")
    num_rows = -(-len(section.panels) // section.columns)
    layout = ws.SectionLayoutSettings(columns=section.columns, rows=num_rows)
    panels = [_PANELS[type(panel)](wr, panel) for panel in section.panels]
    return ws.Section(name=section.name, panels=panels, is_open=section.is_open, layout_settings=layout)


def _lines(wr: Any, panel: Lines) -> Any:
    return wr.LinePlot(
        title=panel.title,
        x=panel.x,
        y=panel.metrics,
        metric_regex=panel.pattern,
        log_y=panel.log or None,
        plot_type="stacked-area" if panel.stacked else "line",
        max_runs_to_show=20,
    )


def _bars(wr: Any, panel: Bars) -> Any:
    return wr.BarPlot(title=panel.title, metrics=[wr.SummaryMetric(name) for name in panel.metrics])


def _media(wr: Any, panel: Media) -> Any:
    return wr.MediaBrowser(title=panel.title, media_keys=panel.keys, num_columns=2)


def _rows(wr: Any, panel: Rows) -> Any:
    return wr.WeavePanelSummaryTable(table_name=panel.name)


def _parallel(wr: Any, panel: Parallel) -> Any:
    metrics = [*(wr.Config(path) for path in panel.config), wr.SummaryMetric(panel.metric)]
    columns = [wr.ParallelCoordinatesPlotColumn(metric=metric) for metric in metrics]
    return wr.ParallelCoordinatesPlot(title=panel.title, columns=columns)


def _text(wr: Any, panel: Text) -> Any:
    return wr.MarkdownPanel(markdown=panel.markdown)


_PANELS: dict[type, Callable[[Any, Any], Any]] = {
    Lines: _lines,
    Bars: _bars,
    Media: _media,
    Rows: _rows,
    Parallel: _parallel,
    Text: _text,
}


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Another module that is missing is a fault of the installed package, not a missing extra.
        if (error.name or "").partition(".")[0] != "wandb_workspaces":
            raise
        raise ConfigError("wandb-workspaces is not installed: pip install 'snac_exp[dashboard]'") from None
