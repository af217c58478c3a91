"""A small table of texts, for the terminal and for Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from snac_exp.evaluation.bootstrap import Estimate
from snac_exp.metrics.metric import Metric
from snac_exp.system.markup.markdown import plain, table

ABSENT = "-"


@dataclass(frozen=True)
class Grid:
    """A title, the names of the columns and rows of as many texts; the first column names the rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> Table:
        """For the terminal."""
        # Text, since rich takes brackets in a str, as of an interval, for markup.
        table = Table(title=Text(self.title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for index, name in enumerate(self.columns):
            table.add_column(Text(name), justify="right" if index else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table

    def markdown(self) -> str:
        """A heading and a table."""
        columns, *rows = ([plain(cell) for cell in line] for line in (self.columns, *self.rows))
        return f"## {plain(self.title)}\n\n{table(columns, rows, 'l'.ljust(len(columns), 'r'))}\n"


def document(grids: Iterable[Grid], notes: Iterable[str]) -> str:
    """Tables and a list of what a reader must know, as Markdown."""
    return "\n".join([*(grid.markdown() for grid in grids), *(f"- {plain(note)}" for note in notes), ""])


def cell(metric: Metric, found: Estimate | None, *, signed: bool = False) -> str:
    """`0.0412 [0.0401, 0.0425]`, without an interval where there is none."""
    if found is None:
        return ABSENT
    text = metric.text(found.mean, signed=signed)
    if found.low95 is None or found.high95 is None:
        return text
    return f"{text} [{metric.text(found.low95, signed=signed)}, {metric.text(found.high95, signed=signed)}]"


def heading(metric: Metric) -> str:
    """A metric's title, its unit and which way is better."""
    return f"{metric.full_title} {metric.arrow}".rstrip()
