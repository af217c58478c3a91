import io

from rich.console import Console

from snac_exp.evaluation.bootstrap import Estimate
from snac_exp.evaluation.tables import Grid, cell, heading
from snac_exp.metrics.table import METRICS

L1, SI_SDR = (next(it for it in METRICS if it.name == name) for name in ("l1", "si_sdr_db"))


def test_cells_have_the_decimals_of_their_metric() -> None:
    assert cell(L1, Estimate(0.041234, 0.04, 0.0425, 9)) == "0.04123 [0.04000, 0.04250]"
    assert cell(SI_SDR, Estimate(-1.0, -2.5, 0.5, 9), signed=True) == "-1.00 [-2.50, +0.50]"
    assert cell(SI_SDR, Estimate(-0.001, -0.004, 0.0, 9), signed=True) == "+0.00 [+0.00, +0.00]"  # no negative zero
    assert cell(L1, Estimate(0.5, None, None, 1)) == "0.50000"
    assert cell(L1, None) == "-"
    assert (heading(L1), heading(SI_SDR)) == ("L1 (full scale) ↓", "SI-SDR (dB) ↑")


def test_a_narrow_terminal_loses_nothing() -> None:
    found = Estimate(-38.37, -40.74, -35.92, 50)
    columns = ["mean [95 %]", *(f"{name}\n(head_24k interpolated, with noise)" for name in ("24k", "48k", "[b]", "d"))]
    grid = Grid("a title", columns, [[heading(it), *([cell(it, found)] * 4)] for it in METRICS])
    out = io.StringIO()
    Console(file=out, width=80).print(grid.rich())
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "…" not in out.getvalue()
    # A metric of fewer decimals shows -35.9.
    assert out.getvalue().count("-35.9") == 4 * len(METRICS)
    assert "[b]" in out.getvalue()


def test_markdown_keeps_a_row_on_a_line_and_its_bars_apart() -> None:
    text = Grid("a title", ["", "48k\n(head)"], [["a | b", "1"]]).markdown()
    assert text == "## a title\n\n|  | 48k (head) |\n| --- | ---: |\n| a \\| b | 1 |\n"
