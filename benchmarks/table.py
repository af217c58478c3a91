"""The figures of results.json: docs/performance.md has a column per processor, the README the ranges of a few.

python -m benchmarks.table      puts both into the pages, which a test asks for
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import read_results
from snac_exp.system.files import write_text

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"^\| figure \| floor \|.*\n(?:\|.*\n)*", re.MULTILINE)
NOT_MEASURED = "not measured"
SHORT = re.compile(r"^\| figure \| on \d+ processors \|\n(?:\|.*\n)*", re.MULTILINE)
README = (
    "step_main_eager",
    "step_warmup_against_plain_warmup",
    "stft_loss",
    "rows_48k_flac_careful",
    "rows_48k_pcm_careful",
)
"""What the README shows of them."""

Rows = Mapping[str, Mapping[str, Any]]


def main() -> None:
    """Put them there."""
    processors = read_results()["processors"]
    _put("docs/performance.md", PLACE, table(processors))
    _put("README.md", SHORT, ranges(processors, README))


def _put(page: str, place: re.Pattern[str], made: str) -> None:
    path = ROOT / page
    write_text(path, place.sub(lambda _: f"{made}\n", path.read_text(encoding="utf-8"), count=1))


def ranges(processors: Mapping[str, Rows], names: Sequence[str]) -> str:
    """Markdown: the least and the greatest value of each figure among the processors."""
    lines = [_line(["figure", f"on {len(processors)} processors"]), "|---|---|"]
    for name in names:
        rows = sorted((rows[name] for rows in processors.values() if name in rows), key=lambda row: float(row["value"]))
        lines.append(_line([rows[0]["title"], f"{_cell(rows[0])} to {_cell(rows[-1])}"]))
    return "\n".join(lines)


def table(processors: Mapping[str, Rows]) -> str:
    """Markdown: every figure that some processor has, and when and under what load they were taken."""
    names = dict.fromkeys(name for rows in processors.values() for name in rows)
    lines = [_line(["figure", "floor", *processors]), "|---" * (2 + len(processors)) + "|"]
    for name in names:
        some = [rows[name] for rows in processors.values() if name in rows]
        cells = [_cell(rows.get(name)) for rows in processors.values()]
        lines.append(_line([some[-1]["title"], _floor(some[-1]), *cells]))
    lines.append(_line(["measured", "", *(_span(rows, _day) for rows in processors.values())]))
    lines.append(_line(["load average then", "", *(_span(rows, _load) for rows in processors.values())]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(row: Mapping[str, Any] | None) -> str:
    return NOT_MEASURED if row is None or row["value"] is None else _number(row["value"], row["unit"])


def _floor(row: Mapping[str, Any]) -> str:
    if row["floor"] is None:
        return ""
    return f"{row['bound'].replace('_', ' ')} {_number(row['floor'], row['unit'])}"


def _number(value: float, unit: str) -> str:
    digits = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits}x" if unit == "x" else f"{digits} {unit}".rstrip()


def _span(rows: Rows, of: Any) -> str:
    found = sorted({of(row) for row in rows.values()}) or [""]
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _day(row: Mapping[str, Any]) -> str:
    return str(row["measured"]).split()[0]


def _load(row: Mapping[str, Any]) -> float:
    return float(row["machine"]["load"])


if __name__ == "__main__":
    main()
