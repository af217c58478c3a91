"""The figures of results.json as the tables of docs/performance.md and, in part, the README: a column per processor.

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
README = (
    "step_main_eager",
    "step_warmup_against_plain_warmup",
    "step_warmup_against_plain",
    "stft_loss",
    "rows_48k_flac_4s",
    "rows_48k_flac_careful",
    "rows_48k_pcm_4s",
    "rows_48k_pcm_careful",
)
"""What the README shows of them."""

Rows = Mapping[str, Mapping[str, Any]]


def main() -> None:
    """Put them there."""
    processors = read_results()["processors"]
    for page, made in {"docs/performance.md": table(processors), "README.md": table(processors, README)}.items():
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        write_text(path, PLACE.sub(lambda _, made=made: f"{made}\n", text, count=1))  # type: ignore[misc]


def table(processors: Mapping[str, Rows], only: Sequence[str] | None = None) -> str:
    """Markdown: every figure that some processor has, or those named, and when and under what load they were taken."""
    names = only or list(dict.fromkeys(name for rows in processors.values() for name in rows))
    processors = {cpu: {name: rows[name] for name in names if name in rows} for cpu, rows in processors.items()}
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
