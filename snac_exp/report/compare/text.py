"""A comparison as Markdown and as rows: what stays when the page is gone."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from snac_exp.data.checked_parquet import write_parquet
from snac_exp.metrics.sides import side_of, words_of
from snac_exp.metrics.table import metric_of, order_of
from snac_exp.report.compare.comparison import Comparison, Entry
from snac_exp.report.labels import written_notes
from snac_exp.report.numbers import DASH, figure, signed
from snac_exp.system.markup.markdown import code, plain, table


def interval_text(low: float | None, high: float | None) -> str:
    """An interval in words, empty where there is none."""
    return "" if low is None or high is None else f"{figure(low, 3)} to {figure(high, 3)}"


def delta_text(entry: Entry) -> str:
    """The difference to the baseline with its interval."""
    if entry.delta is None:
        return DASH
    low, high = entry.delta.low95, entry.delta.high95
    interval = "" if low is None or high is None else f" ({signed(low)} to {signed(high)})"
    return f"{signed(entry.delta.mean)}{interval}"


def heading(name: str) -> str:
    """A metric's key with its unit and the better side."""
    metric = metric_of(name)
    return f"{name}{f' ({metric.unit})' if metric.unit else ''} {metric.arrow}".rstrip()


def explanation(comparison: Comparison) -> str:
    """How the table is to be read, in plain sentences."""
    side = words_of(side_of(comparison.goal))
    parts = [
        f"Sorted by {comparison.metric}, {side} is better; of val/ figures a run's best validation counts. "
        f"Differences are to {comparison.baseline.label}"
    ]
    if comparison.num_paired:
        parts.append(
            f", over the utterances that both runs measured (up to {comparison.num_paired}), with 95 % intervals "
            "by the paired bootstrap; the chance of another training seed is not in them."
        )
    else:
        parts.append(", without intervals: they need the same figure utterance by utterance from both runs.")
    return "".join(parts) + _protocol_note(comparison)


def _protocol_note(comparison: Comparison) -> str:
    """Which runs were summed up before summary.json was measured as `snac-exp evaluate` measures, if only some were."""
    # Only runs with a wide head: the others have no value above 12 kHz that the protocol changed.
    wide = [entry for entry in comparison.entries if any(name.endswith("/lsd_high_db") for name in entry.metrics)]
    earlier = [entry.label for entry in wide if "count/native_high_band" not in entry.metrics]
    if not earlier or len(earlier) == len(wide):
        return ""
    return (
        f" Of {', '.join(earlier)} stoi and lsd_high_db were measured by an earlier protocol (STOI at the head's rate, "
        "all recordings above 12 kHz): compare those two with snac-exp evaluate."
    )


def markdown_table(comparison: Comparison) -> str:
    """The table of results with its explanation, and the failures, as Markdown."""
    columns = ["", "run", heading(comparison.metric), "difference", *map(heading, comparison.columns), "steps"]
    aligned = "rl".ljust(len(columns), "r")
    has_tags = any(entry.record.labels.tags for entry in comparison.entries)
    columns, aligned = ([*columns, "tags"], f"{aligned}l") if has_tags else (columns, aligned)
    rows = []
    for rank, entry in enumerate(comparison.entries, 1):
        name = f"**{plain(entry.label)}**" if entry is comparison.best else plain(entry.label)
        name += " (baseline)" if entry is comparison.baseline else ""
        name += "" if entry.state == "finished" else f" ({entry.state})"
        value = DASH if entry.value is None else figure(entry.value)
        interval = interval_text(*(entry.interval or (None, None)))
        others = (DASH if name not in entry.metrics else figure(entry.metrics[name]) for name in comparison.columns)
        cells = [str(rank), name, f"{value} ({interval})" if interval else value, delta_text(entry), *others]
        tags = [plain(" ".join(entry.record.labels.tags)) or DASH] if has_tags else []
        rows.append([*cells, figure(entry.record.step), *tags])
    return f"{table(map(plain, columns), rows, aligned)}\n\n{plain(explanation(comparison))}"


def markdown(comparison: Comparison) -> str:
    """The whole comparison as Markdown."""
    parts = ["# Comparison", plain(comparison.question or ""), markdown_table(comparison), _notes(comparison)]
    parts.append(_differences(comparison))
    if comparison.failures:
        lines = [f"- {plain(entry.label)}: {entry.state}. {plain(entry.error or '')}" for entry in comparison.failures]
        parts.append("\n".join(["## Not finished", "", *lines]))
    folders = [f"- {plain(entry.label)}: {code(str(entry.record.path))}" for entry in comparison.entries]
    parts.append("\n".join(["## Folders", "", *folders]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _notes(comparison: Comparison) -> str:
    """What people wrote of the runs; empty where they wrote nothing."""
    lines = [
        f"- {plain(entry.label)}, {when}: {plain(text)}"
        for entry in comparison.entries
        for when, text in written_notes(entry.record.labels)
    ]
    return "\n".join(["## Notes", "", *lines]) if lines else ""


def _differences(comparison: Comparison) -> str:
    if not comparison.differences:
        return "## Config\n\nThe configs are the same."
    columns = ["run", *(code(item.key) for item in comparison.differences)]
    rows = [
        [plain(entry.label), *(plain(item.values[index]) for item in comparison.differences)]
        for index, entry in enumerate(comparison.entries)
    ]
    return f"## Config: what differs\n\n{table(columns, rows)}"


def write_rows(comparison: Comparison, path: Path) -> None:
    """A parquet file with a row per run: name, path, state, labels, metric, difference, all values, differing keys."""
    metrics = sorted({name for entry in comparison.entries for name in entry.metrics}, key=order_of)
    rows = [_row(comparison, index, entry, metrics) for index, entry in enumerate(comparison.entries)]
    kinds = {"rank": pa.int64(), "steps": pa.int64(), "is_baseline": pa.bool_(), "delta_utterances": pa.int64()}
    kinds |= dict.fromkeys(("tags", "notes"), pa.list_(pa.string()))
    texts = ("run", "path", "state", "error", "metric", "goal")
    schema = pa.schema(
        # Types are set, not guessed: a column that is empty in every run would have none.
        [
            (name, pa.string() if name in texts or name.startswith("config.") else kinds.get(name, pa.float64()))
            for name in rows[0]
        ]
    )
    write_parquet(path, pa.Table.from_pylist(rows, schema=schema))


def _row(comparison: Comparison, index: int, entry: Entry, metrics: list[str]) -> dict[str, Any]:
    delta, (low, high) = entry.delta, entry.interval or (None, None)
    return {
        "rank": index + 1,
        "run": entry.label,
        "path": str(entry.record.path),
        "state": entry.state,
        "error": entry.error,
        "tags": list(entry.record.labels.tags),
        "notes": [note.text for note in entry.record.labels.notes],
        "is_baseline": entry is comparison.baseline,
        "metric": comparison.metric,
        "goal": comparison.goal,
        "value": entry.value,
        "low95": low,
        "high95": high,
        "delta": delta and delta.mean,
        "delta_low95": delta and delta.low95,
        "delta_high95": delta and delta.high95,
        "delta_utterances": delta and delta.num,
        "steps": entry.record.step,
        **{name: entry.metrics.get(name) for name in metrics},
        **{f"config.{item.key}": item.values[index] for item in comparison.differences},
    }
