"""Runs and sweeps below a folder: how far they are, how fast, and what went wrong.

usage: snac-exp status [DIR] [tag=TAG | tag=[TAG,TAG]] [watch=true] [every_seconds=5] [format=table|json]

DIR is outputs by default; a run or a sweep works too. A run whose process died without recording an end is `lost`.
tag= shows only runs that have the tag, or all of the tags; see snac-exp tag.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.live import Live

from snac_exp.errors import ConfigError
from snac_exp.status.overview import overview, with_tags
from snac_exp.status.table import as_json, as_table
from snac_exp.system.terminal import console
from snac_exp.verbs.arguments import folder_and_options, listed, seconds_of


def main(arguments: Sequence[str]) -> int:
    """Print one table, or keep one up to date."""
    defaults = {"watch": "false", "every_seconds": "5", "format": "table", "tag": "[]"}
    folder, options = folder_and_options("status", arguments, defaults, Path("outputs"))
    for key, allowed in (("watch", ("true", "false")), ("format", ("table", "json"))):
        if options[key] not in allowed:
            raise ConfigError(f"{key}={options[key]} is not valid; choose one of: {', '.join(allowed)}")

    tags = listed(options["tag"])
    if not tags and options["tag"] != "[]":
        raise ConfigError("tag= names no tag; leave it out to see all runs")
    if options["format"] == "json":
        print(as_json(with_tags(overview(folder), tags)))
        return 0
    if options["watch"] == "false":
        screen = console()
        lines = with_tags(overview(folder), tags)
        if lines:
            screen.print(as_table(lines, str(folder), screen.width))
        else:
            print(f"there is no run in {folder}")
        return 0
    _watch(folder, tags, seconds_of(options, "every_seconds"))
    return 0


def _watch(folder: Path, tags: Sequence[str], every_seconds: float) -> None:
    """Keep the table up to date until Ctrl-C; where the output is no terminal, one table after the other."""

    screen = console()
    # A log or a pipe cannot be drawn over, so there each table follows the last.
    with Live(console=screen, auto_refresh=False) if screen.is_terminal else nullcontext() as live:
        try:
            while True:
                table = as_table(
                    with_tags(overview(folder), tags), f"{folder}  {time.strftime('%H:%M:%S')}", screen.width
                )
                if live is None:
                    screen.print(table)
                else:
                    live.update(table, refresh=True)
                time.sleep(every_seconds)
        except KeyboardInterrupt:
            return
