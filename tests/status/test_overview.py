"""How runs and sweeps stand, in a table, once or watched; what is named that is neither."""

import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from snac_exp import cli
from snac_exp.errors import ConfigError
from snac_exp.status.overview import Line
from snac_exp.status.table import as_table
from tests.helpers.waiting import GUARD_SECONDS


def test_status_can_be_watched(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snac_exp.cli", "status", str(tmp_path), "watch=true", "every_seconds=0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    headings = 0
    while headings < 2:
        line = process.stdout.readline()
        assert line, "it ended"
        headings += "state" in line
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 0


def test_a_narrow_terminal_gets_the_columns_that_matter() -> None:
    facts = dict.fromkeys((field.name for field in fields(Line)), None) | {"run": "a/b", "state": "failed"}
    line = Line(
        **facts
        | {
            "attempts": 1,
            "loss": 1.5,
            "best": 1.25,
            "step": 3,
            "heartbeat_seconds": 5.0,
            "error": "why",
            "tags": (),
            "notes": (),
        }
    )  # type: ignore[arg-type]
    shown = {width: [str(column.header) for column in as_table([line], "t", width).columns] for width in (200, 80, 65)}
    assert shown[200] == ["run", "state", "step", "loss", "best", "heartbeat", "last error"]
    assert shown[80] == ["run", "state", "step", "loss", "best", "last error"]
    assert shown[65] == ["run", "state", "step", "best", "last error"]


def test_verbs_about_folders_name_what_is_wrong(tmp_path: Path) -> None:
    for arguments, message in (
        (["status", str(tmp_path / "nowhere")], "there is no folder"),
        (["status", str(tmp_path), "fromat=json"], "did you mean 'format'"),
        (["status", str(tmp_path), "format=xml"], "choose one of: table, json"),
        (["stop"], "needs a folder"),
        (["reconstruct", "input=x", "output=y", "codec=demo"], "unknown key 'codec' of .* as checkpoint=demo"),
        (["stop", str(tmp_path)], "there is no run in"),
        (["sweep", f"resume={tmp_path}"], "is no sweep"),
        (["sweep", "cache-codes"], "shard.count=N"),
    ):
        with pytest.raises(ConfigError, match=message):
            cli.run(arguments)
