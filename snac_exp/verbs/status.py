"""Runs and sweeps below a folder: how far they are, how fast, and what went wrong.

usage: snac-exp status [DIR] [watch=true] [every_seconds=5] [format=table|json]

DIR is outputs by default; a run or a sweep works too. A run whose process is gone without having said so is `lost`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.live import Live

from snac_exp.errors import ConfigError
from snac_exp.runs.folder_arguments import folder_and_options


def main(arguments: Sequence[str]) -> int:
    """Print one table, or keep one up to date."""
    defaults = {"watch": "false", "every_seconds": "5", "format": "table"}
    folder, options = folder_and_options("status", arguments, defaults, Path("outputs"))
    for key, allowed in (("watch", ("true", "false")), ("format", ("table", "json"))):
        if options[key] not in allowed:
            raise ConfigError(f"{key}={options[key]} is not possible; there is: {', '.join(allowed)}")
    from snac_exp.runs.overview import as_json, as_table, overview
    from snac_exp.runs.terminal import console

    if options["format"] == "json":
        print(as_json(overview(folder)))
        return 0
    if options["watch"] == "false":
        console().print(as_table(overview(folder), str(folder)))
        return 0
    with Live(console=console(), auto_refresh=False) as live:
        try:
            while True:
                live.update(as_table(overview(folder), f"{folder}  {time.strftime('%H:%M:%S')}"), refresh=True)
                time.sleep(float(options["every_seconds"]))
        except KeyboardInterrupt:
            return 0
