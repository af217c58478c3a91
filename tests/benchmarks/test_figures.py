"""Figures lie under the processor that measured them, and pages show what lies there."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness
from benchmarks.harness import Figure, read_results, record
from benchmarks.table import README, ranges, table
from tests.docs.pages import text_of


def test_a_processor_overwrites_its_own_figures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    for cpu, value, load in (("one", 1.0, 0.5), ("other", 2.0, 1.5), ("one", 3.0, 2.5)):
        monkeypatch.setattr(harness, "cpu_name", lambda cpu=cpu: cpu)
        monkeypatch.setattr(harness.os, "getloadavg", lambda load=load: (load, 9.0, 9.0))
        record({"speed": Figure("speed", value), "gpu_traffic": Figure("bytes", value)}, path)
    found = json.loads(path.read_text())
    rows = {cpu: of_cpu["speed"] for cpu, of_cpu in found["processors"].items()}
    assert {cpu: (row["value"], row["machine"]["cpu"], row["machine"]["load"]) for cpu, row in rows.items()} == {
        "one": (3.0, "one", 2.5),
        "other": (2.0, "other", 1.5),
    }
    assert {name: row["value"] for name, row in found["gpu"].items()} == {"gpu_traffic": 3.0}


def test_every_stored_figure_says_which_machine_it_is_of() -> None:
    results = read_results()
    for cpu, rows in results["processors"].items():
        for name, row in rows.items():
            assert row["machine"]["cpu"] == cpu, name
            assert row["machine"]["load"] >= 0, name
    for name, row in results["gpu"].items():
        assert row["value"] is None or "machine" in row or "card" in row, name


def test_the_pages_show_the_stored_figures() -> None:
    """Mend by `python -m benchmarks.table`."""
    processors = read_results()["processors"]
    assert table(processors) in text_of("performance")
    assert ranges(processors, README) in text_of("README")


def test_a_table_has_a_column_per_processor_and_says_what_was_not_measured() -> None:
    def row(value: float | None, **changes: Any) -> dict[str, Any]:
        base = {"title": "speed", "value": value, "unit": "x", "bound": "at_least", "floor": 2.0}
        return base | {"measured": "2026-01-02 03:04 UTC", "machine": {"load": 1.5}} | changes

    processors = {
        "A": {"speed": row(2.958), "size": row(123.4, title="size", unit="GB", floor=None)},
        "B": {"speed": row(None, machine={"load": 0.5})},
    }
    assert table(processors).splitlines() == [
        "| figure | floor | A | B |",
        "|---|---|---|---|",
        "| speed | at least 2x | 2.96x | not measured |",
        "| size |  | 123 GB | not measured |",
        "| measured |  | 2026-01-02 | 2026-01-02 |",
        "| load average then |  | 1.5 | 0.5 |",
    ]


def test_a_short_table_has_the_least_and_the_greatest_of_the_processors() -> None:
    processors = {
        cpu: {"speed": {"title": "speed", "value": value, "unit": "x"}} for cpu, value in (("A", 2.4), ("B", 1.54))
    }
    shown = ["| figure | on 2 processors |", "|---|---|", "| speed | 1.54x to 2.4x |"]
    assert ranges(processors, ["speed"]).splitlines() == shown
