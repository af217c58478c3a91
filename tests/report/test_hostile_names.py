"""Names and settings that HTML or Markdown would act on: pages and tables of the verbs show them as they stand."""

import html
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from snac_exp import cli
from snac_exp.tracking.labels.stored import update_labels
from snac_exp.tracking.run_folder import RunFolder
from tests.helpers import markdown
from tests.report.folders import make_run, summary
from tests.report.parsed import Page

EVIL = "<script>alert(1)</script> | `b` [x](javascript:alert(2)) *i* <!-- /compare --> &lt;\n# h"
ON_ONE_LINE = " ".join(EVIL.split())


def hostile_sweep(folder: Path) -> Path:
    """Two jobs that differ in a setting of such a name and value; the second failed with such words."""
    rows = []
    for job in range(2):
        failed = {"state": "failed", "error": f"Traceback\nError: {EVIL}"} if job else {}
        config = {"name": EVIL, "lr": {"`a|b`": f"{EVIL}{job}"}, "tracker": {"mode": "off", "tags": [EVIL]}}
        path = make_run(folder / f"job{job}", config=config, status=failed, summary=summary(6.0 + job), clips=0)
        update_labels(RunFolder(path), lambda labels: labels.noted(f"{EVIL} note"))
        rows.append({
            "job": job, "hash": f"job{job}", "overrides": [f"lr.x={EVIL}{job}"], "run_dir": f"job{job}",
            "state": "failed" if job else "finished", "attempts": 1, "error": f"Error: {EVIL}" if job else None,
        })  # fmt: skip
    question = {"name": "lr", "metric": "head_48k/lsd_high_db", "goal": "minimize", "question": f"{EVIL}?"}
    stored = {"question": question, "backend": {}, "directory": str(folder), "command": []}
    (folder / "sweep.json").write_text(json.dumps(stored))
    (folder / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """What `compare` writes of such a sweep and of a run of such a name, and the Markdown file that it updates."""
    sweep, other = hostile_sweep(tmp_path / "sweep"), make_run(tmp_path / "[x](y) `|` <b>", clips=0, summary=summary())
    (tmp_path / "notes.md").write_text("before\n<!-- compare: lr --><!-- /compare -->\nafter\n")
    command = ["compare", str(sweep), str(other), f"output={tmp_path / 'out'}", f"update={tmp_path / 'notes.md'}"]
    assert cli.run(command) == 0
    return tmp_path / "out"


def test_comparisons_in_markdown_show_them(compared: Path) -> None:
    text, notes = (compared / "comparison.md").read_text(), (compared.parent / "notes.md").read_text()
    assert notes.count("<!-- /compare -->") == 1
    for document in (text, notes.replace("<!-- compare: lr -->", "").replace("<!-- /compare -->", "")):
        assert markdown.links(document) == []
        assert markdown.acted_on(document) <= {"strong_open", "strong_close", "code_inline"}
        assert {kind for kind, _ in markdown.blocks(document)} == {"inline"}
        shown = {cell for row in markdown.rows(document) for cell in row}
        assert {f"x={ON_ONE_LINE}1 (failed)", "[x](y) `|` <b>", ON_ONE_LINE} <= shown
    assert any(shown.endswith(f": {ON_ONE_LINE} note") for _, shown in markdown.blocks(text))
    assert "lr.`a|b`" in {row[column] for row in markdown.rows(text) for column in range(1, len(row))}
    assert len({len(row) for row in markdown.rows(notes)}) == 1


def test_comparisons_in_html_show_them_and_rows_keep_them(compared: Path) -> None:
    page = Page(compared / "comparison.html")
    assert ON_ONE_LINE.partition("\\")[0] in page.words()
    assert {attributes.get("type") for attributes in page.named("script")} <= {None, "application/json"}
    assert sum("type" not in attributes for attributes in page.named("script")) == 1
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert all(str(attributes.get("href", "#")).startswith("#") for _, attributes in page.tags)
    rows = pq.read_table(compared / "comparison.parquet").to_pylist()
    assert [(row["tags"], row["notes"]) for row in rows].count(([EVIL], [f"{EVIL} note"])) == 2
    assert {row["config.lr.`a|b`"] for row in rows if row["state"] != "finished"} == {f"{EVIL}1"}
    assert html.unescape("&lt;") not in {row["run"] for row in rows}
