"""Runs and sweeps below a folder: how far they are, how fast, and what went wrong.

usage: snac-exp status [DIR] [watch=true] [every_seconds=5] [format=table|json]

DIR is outputs by default; a run or a sweep works too. A run whose process is gone without having said so is `lost`.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.live import Live

from snac_exp.errors import ConfigError
from snac_exp.status.overview import overview
from snac_exp.status.table import as_json, as_table
from snac_exp.system.terminal import console
from snac_exp.verbs.arguments import folder_and_options, seconds_of


def main(arguments: Sequence[str]) -> int:
    """Print one table, or keep one up to date."""
    defaults = {"watch": "false", "every_seconds": "5", "format": "table"}
    folder, options = folder_and_options("status", arguments, defaults, Path("outputs"))
    for key, allowed in (("watch", ("true", "false")), ("format", ("table", "json"))):
        if options[key] not in allowed:
            raise ConfigError(f"{key}={options[key]} is not possible; there is: {', '.join(allowed)}")

    if options["format"] == "json":
        print(as_json(overview(folder)))
        return 0
    if options["watch"] == "false":
        screen = console()
        lines = overview(folder)
        if lines:
            screen.print(as_table(lines, str(folder), screen.width))
        else:
            print(f"there is no run in {folder}")
        return 0
    _watch(folder, seconds_of(options, "every_seconds"))
    return 0


def _watch(folder: Path, every_seconds: float) -> None:
    """Keep the table up to date until Ctrl-C; where the output is no terminal, one table after the other."""

    screen = console()
    # A log or a pipe cannot be drawn over, so there each table follows the last.
    with Live(console=screen, auto_refresh=False) if screen.is_terminal else nullcontext() as live:
        try:
            while True:
                table = as_table(overview(folder), f"{folder}  {time.strftime('%H:%M:%S')}", screen.width)
                if live is None:
                    screen.print(table)
                else:
                    live.update(table, refresh=True)
                time.sleep(every_seconds)
        except KeyboardInterrupt:
            return
